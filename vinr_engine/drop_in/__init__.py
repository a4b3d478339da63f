"""Modules under the names and arguments of extensions that other projects build on: change one import line."""
