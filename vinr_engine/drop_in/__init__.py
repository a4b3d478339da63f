"""Replacements for parts of other projects, under their names and arguments: change one import line."""

from vinr_engine.drop_in.liif import liif_query
from vinr_engine.drop_in.softsplat import softsplat

__all__ = ["liif_query", "softsplat"]
from vinr_engine.drop_in.lte import lte_query

__all__ = ["liif_query", "lte_query"]
from vinr_engine.drop_in.thera import TheraQuery
from vinr_engine.drop_in.v3 import V3Query, V3Refine

__all__ = ["TheraQuery", "V3Query", "V3Refine", "liif_query"]
