"""Sparse autoencoders that others have published: read, checked against the model, used as our own, and written."""
