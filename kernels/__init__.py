"""Triton kernels, one file an op; installed as `vinr_engine.kernels`."""
