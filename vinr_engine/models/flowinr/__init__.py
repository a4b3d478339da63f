"""FlowINR, the network that comes with the package: frames enlarged once each, then moved along a flow of its own."""

from vinr_engine.models.flowinr.network import FlowINR

__all__ = ["FlowINR"]
