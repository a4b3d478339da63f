"""V3's query on features that an encoder gave: any size, any times, with gradients; beside the published form's time.

python examples/v3.py [CHECKPOINT.pkl]

Without a checkpoint, a narrow query of the same names with parameters drawn anew.
"""

import sys
import time

import torch

import vinr_engine as vinr
from vinr_engine.drop_in.v3 import V3Query, times_of


def main() -> None:
    torch.manual_seed(0)
    query = V3Query.from_checkpoint(sys.argv[1]) if len(sys.argv) > 1 else V3Query(channels=32, functions=64)
    channels = query.out_conv.kernel.shape[0]
    features = torch.randn(2, 12, 16, channels, requires_grad=True)  # of two frames
    frames = torch.rand(2, 12, 16, 3)
    times = times_of(2, 4)  # four times the frame rate
    results = {}
    for backend in ("reference", "auto"):
        with vinr.backend(backend):
            begin = time.perf_counter()
            pictures = query(features, frames, (48, 64), times)  # [5, 48, 64, 3]
            (gradient,) = torch.autograd.grad(pictures.square().mean(), features)
            results[backend] = pictures, gradient
            print(f"{backend}: {list(pictures.shape)} with gradients in {time.perf_counter() - begin:.3f} s")
    for ours, theirs in zip(results["auto"], results["reference"], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


if __name__ == "__main__":
    main()
