"""Replacements for parts of other projects, under their names and arguments: change one import line."""

from vinr_engine.drop_in.liif import liif_query

__all__ = ["liif_query"]
