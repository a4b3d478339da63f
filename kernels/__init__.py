"""Triton kernels, one file an op; installed as `vinr_engine.kernels`.

Importing this package loads no Triton: a module with kernels in it is imported when one is first launched.
"""
