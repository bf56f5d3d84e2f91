"""Dictionary learning: concept models and their explainers."""
