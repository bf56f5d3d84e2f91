"""Solvers for codes of a dictionary."""
