"""Adapters for concept models of other libraries."""
