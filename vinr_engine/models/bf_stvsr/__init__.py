"""BF-STVSR."""

from vinr_engine.models.bf_stvsr.network import BFSTVSR

__all__ = ["BFSTVSR"]
