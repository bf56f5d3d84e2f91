"""The engine of Ray, which is in `interpreto.engines`."""

from interpreto.engines.cluster import RayOptions

__all__ = ["RayOptions"]
