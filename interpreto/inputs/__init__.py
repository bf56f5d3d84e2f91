"""Inputs, units and targets: what is explained. May call a tokenizer, never a model."""
