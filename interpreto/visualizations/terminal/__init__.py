"""Explanations as text for a terminal."""
