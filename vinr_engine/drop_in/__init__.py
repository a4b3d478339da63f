"""Replacements for parts of other projects, under their names and arguments: change one import line."""
