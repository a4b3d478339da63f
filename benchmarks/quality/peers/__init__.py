"""What users without a GPU choose today, on the inputs and by the metric of `vinr evaluate`: quality and cost.

`python -m benchmarks.quality.peers`. `stages` says what a stage is; `span`, `rife`, `ffmpeg` and `ours` have them, and
`listed` the pipelines made of them. `quality` and `cost` measure, `worker` is the process that costs are measured in.
"""
