"""Lenses: what a model would answer if it stopped after each of its layers."""
