"""Engines: run a job over shards of inputs, here, in processes of this machine, or on a cluster."""
