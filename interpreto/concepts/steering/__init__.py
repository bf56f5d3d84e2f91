"""Steering: what a model writes when its concepts are changed."""
