"""Replacements for parts of other projects: change one import there, and the rest stays."""
