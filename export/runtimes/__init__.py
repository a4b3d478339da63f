"""Exported networks in the runtimes that run them."""
