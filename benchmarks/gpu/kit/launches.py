"""One launch of each CUDA kernel, small, for tools that watch a GPU: compute-sanitizer and ncu.

    python -m benchmarks.gpu.kit.launches [--match WORDS] [--size HxW] [--dry-run]

Every result is held to the reference in float64. --dry-run goes the same way on the CPU, by the backend at hand.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import vinr_engine as vinr
from benchmarks.tolerances import LAUNCH

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
OTHER_WIDTHS = dict(nf=16, groups=4, front_blocks=0, back_blocks=0, hr_features=24, feat_hidden=(40,),
                    flow_hidden=(24, 72), encode_hidden=(56,))  # fmt: skip


@dataclass(frozen=True)
class Launch:
    """One call of an op. backend: of ours, by name; which: "wide" or "narrow" of deform_conv2d, whose groups are read
    by 16 bytes or by channel, "published" or "other" widths of the query."""

    op: str
    backend: str
    operands: str
    which: str

    @property
    def name(self) -> str:
        return f"{self.op} {self.which} {self.operands} {self.backend}"


def launches() -> list[Launch]:
    """All of them: each kernel of the CUDA backend, and the query by Triton for its counters."""
    kinds = (("deform_conv2d", "wide"), ("deform_conv2d", "narrow"), ("query", "published"), ("query", "other"))
    found = [Launch(op, "cuda", operands, which) for op, which in kinds for operands in LAUNCH]
    return [*found, *(Launch("query", "triton", operands, "published") for operands in ("float16", "tf32"))]


@contextlib.contextmanager
def _mode(launch: Launch, device: torch.device) -> Iterator[None]:
    """What decides how the op multiplies."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        stack.enter_context(vinr.backend(launch.backend if device.type == "cuda" else "auto"))
        stack.enter_context(vinr.input_precision("tf32" if launch.operands == "tf32" else "tf32x3"))
        if launch.op == "query" and launch.operands in DTYPES:
            stack.enter_context(torch.autocast(device.type, DTYPES[launch.operands]))
        yield


def _drawn(*shape: int, scale: float = 1.0) -> Tensor:
    return torch.randn(*shape) * scale


def _deform_conv2d(launch: Launch, size: tuple[int, int]) -> tuple[list[Tensor], Callable[..., Tensor]]:
    h, w = size
    C, G = (64, 8) if launch.which == "wide" else (6, 2)  # 3 channels a group: no 16 bytes together
    dtype = DTYPES.get(launch.operands, torch.float32)
    given = [_drawn(2, C, h, w), _drawn(2, 18 * G, h, w, scale=2), _drawn(C, C, 3, 3, scale=C**-0.5 / 3), _drawn(C),
             _drawn(2, 9 * G, h, w).sigmoid()]  # fmt: skip
    layout = torch.channels_last
    given = [t.to(dtype).to(memory_format=layout) if t.ndim == 4 else t.to(dtype) for t in given]

    def call(input: Tensor, offset: Tensor, weight: Tensor, bias: Tensor, mask: Tensor) -> Tensor:
        return vinr.ops.deform_conv2d(input, offset, weight, bias, padding=1, mask=mask)

    return given, call


def _query(launch: Launch, size: tuple[int, int]) -> tuple[list[Tensor], Callable[..., Tensor]]:
    h, w = size
    torch.manual_seed(1)
    network = vinr.VideoINR(**(OTHER_WIDTHS if launch.which == "other" else dict(front_blocks=0, back_blocks=0)))
    network = network.eval().requires_grad_(False)
    nf = OTHER_WIDTHS["nf"] if launch.which == "other" else 64

    def call(features: Tensor, frames: Tensor, *_: Tensor) -> Tensor:
        moved = network.to(features.device, features.dtype)
        out = moved.query(features, frames, [0.25, 1.0], (4 * h - 1, 4 * w - 3))
        assert isinstance(out, Tensor)
        return out

    return [_drawn(1, 3, int(nf), h + -h % 4, w + -w % 4, scale=0.5), torch.rand(1, 2, 3, h, w)], call


def error_of(launch: Launch, size: tuple[int, int], device: torch.device) -> float:
    """Largest relative error of one call on fresh inputs."""
    torch.manual_seed(0)
    given, call = (_query if launch.op == "query" else _deform_conv2d)(launch, size)
    with torch.inference_mode(), vinr.backend("reference"):
        expected = call(*(t.double() for t in given))
    with _mode(launch, device):
        out = call(*(t.to(device) for t in given))
        if device.type == "cuda":
            torch.cuda.synchronize()
    return float((out.double().cpu() - expected).abs().max() / expected.abs().max())


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--match", default="", help="only launches whose name holds all of these words")
    parser.add_argument("--size", default="13x21", help="rows x columns of the maps [%(default)s]")
    parser.add_argument("--dry-run", action="store_true")
    options = parser.parse_args(argv)
    h, w = (int(side) for side in options.size.split("x"))
    device = torch.device("cpu" if options.dry_run else "cuda:0")
    chosen = [launch for launch in launches() if all(word in launch.name.split() for word in options.match.split())]
    if not chosen:
        parser.error(f"no launch is called so: {'; '.join(launch.name for launch in launches())}")
    wrong = 0
    for launch in chosen:
        try:
            error = error_of(launch, (h, w), device)
        except vinr.BackendError as refused:
            print(f"{launch.name}: not available: {refused}")
            continue
        right = error <= LAUNCH[launch.operands]
        wrong += not right
        print(f"{launch.name}: error {error:.2g}{'' if right else f', at most {LAUNCH[launch.operands]:g} allowed'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
