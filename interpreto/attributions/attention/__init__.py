"""Flows from the attention of all layers to one row per score."""
