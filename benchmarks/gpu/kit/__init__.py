"""Half an hour of a GPU, used well: one folder to carry there, one command to type there, results to bring back.

`make gpu-kit` (build.py) packs a kit. On the host, run.py unpacks it and starts session.py, which runs the pieces of
pieces.py one after another until its deadline, each in a process of its own, and goes on at the next call. Here again,
`make gpu-report` (report.py) merges what came back into benchmarks/results/gpu. docs/gpu.md is the manual.
"""
