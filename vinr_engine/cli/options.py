"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Weights = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Checkpoint: the published latest_G.pth of VideoINR, or a .safetensors [default: the package's own].",
    ),
]
Untrained = Annotated[
    bool, typer.Option("--untrained", help="Random weights: tries the tool; the picture means nothing.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Backend = Annotated[str, typer.Option(help="auto, reference, cpu, triton or cuda (see vinr info).")]
Dtype = Annotated[
    str, typer.Option(help="float32, float64, bfloat16 or (GPU) float16; the last two are faster and less exact.")
]
