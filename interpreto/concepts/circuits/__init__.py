"""Circuits: which concepts, heads and layers act on each other, and how much of an output they account for."""
