"""Sparse autoencoders: architectures, training and explainers."""
