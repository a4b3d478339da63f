"""Measuring restored clips against true ones; docs/evaluation.md says how and why."""

from vinr_engine.evaluation.evaluate import Report, evaluate

__all__ = ["Report", "evaluate"]
