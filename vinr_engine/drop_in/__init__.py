"""Replacements for parts of other projects, under their names and arguments: change one import line.

A module a project, and a page for it: docs/drop-ins.md.
"""
