"""Networks, and their checkpoints."""

from vinr_engine.errors import CheckpointError
from vinr_engine.models.bf_stvsr import BFSTVSR
from vinr_engine.models.checkpoint import SMALL_VIDEOINR, load_network, save_checkpoint
from vinr_engine.models.flowinr import FlowINR
from vinr_engine.models.network import Network, NetworkModule, networks, register
from vinr_engine.models.videoinr import VideoINR

__all__ = [
    "BFSTVSR",
    "SMALL_VIDEOINR",
    "CheckpointError",
    "FlowINR",
    "Network",
    "NetworkModule",
    "VideoINR",
    "load_network",
    "networks",
    "register",
    "save_checkpoint",
]
