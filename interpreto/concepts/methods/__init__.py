"""Concept methods: a model of concepts each, and what fits it."""
