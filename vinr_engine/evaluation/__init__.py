"""Measuring restored clips against true ones; docs/evaluation.md says how and why."""
