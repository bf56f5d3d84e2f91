"""Concepts of several places: transcoders, which read one and write another, and crosscoders, which read and write them all."""
