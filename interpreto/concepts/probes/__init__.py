"""Supervised concepts: probes, concept activation vectors and their tests, erasure."""
