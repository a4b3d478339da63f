"""Times LIIF's query beside its straight torch form, after checking that both agree."""

import argparse
import itertools
import statistics
import time

import torch
from torch import Tensor

import vinr_engine as vinr
from vinr_engine import reference
from vinr_engine.drop_in.liif import liif_query

WIDTHS = (580, 256, 256, 256, 256, 3)


Seconds = dict[str, list[tuple[float, float]]]


def measure(calls: dict, repeats: int) -> Seconds:
    """Seconds by the clock and of the processor for each call, all calls in turn, after one that does not count."""
    seconds: Seconds = {name: [] for name in calls}
    for i in range(repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter(), time.process_time()
            call()
            if i > 0:
                seconds[name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=64, help="height and width of the features")
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--chunk", type=int, default=30000, help="queries at a time of the straight form")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.manual_seed(0)
    n = options.size * options.scale
    layers = [((torch.rand(b, a) * 2 - 1) * (6 / a) ** 0.5, torch.rand(b) * 0.1) for a, b in itertools.pairwise(WIDTHS)]
    features = torch.rand(1, 64, options.size, options.size) * 2 - 1
    axis = (torch.arange(n) * 2 + 1) / n - 1
    coordinates = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).view(1, -1, 2)
    cells = torch.full_like(coordinates, 2 / n)

    def straight(chunk: int) -> Tensor:
        parts = zip(coordinates.split(chunk, 1), cells.split(chunk, 1), strict=True)
        return torch.cat([reference.liif_query(features, layers, *part) for part in parts], 1).view(1, n, n, -1)

    def ours() -> Tensor:
        with vinr.backend("cpu"):
            return liif_query(features, layers, (n, n))

    def gradients(out: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(out.square().sum(), [features, *(t for layer in layers for t in layer)])

    error = (straight(n * n) - ours()).abs().max().item()
    if not error <= 1e-4:
        raise SystemExit(f"the two forms differ by {error}")
    print(f"{torch.get_num_threads()} threads, {torch.ops.vinr.cpu_variant()}, largest difference {error:.1e}")
    forward = {"straight": lambda: straight(n * n), "straight in chunks": lambda: straight(options.chunk), "ours": ours}
    with torch.no_grad():
        results = [("forward", measure(forward, options.repeats))]
    for tensor in (features, *(t for layer in layers for t in layer)):
        tensor.requires_grad_()
    both = {name: lambda call=call: gradients(call()) for name, call in forward.items()}
    results.append(("forward and backward", measure(both, options.repeats)))
    for what, seconds in results:
        medians = {name: [statistics.median(t) for t in zip(*times, strict=True)] for name, times in seconds.items()}
        best = [min(t) for t in zip(*(m for name, m in medians.items() if name != "ours"), strict=True)]
        for name, (clock, processor) in medians.items():
            spread = sorted(t for t, _ in seconds[name])
            print(
                f"{what:21} {name:19} {clock:7.3f} s ({spread[0]:.3f} to {spread[-1]:.3f}) {best[0] / clock:5.2f}x"
                f"   processor {processor:7.3f} s {best[1] / processor:5.2f}x"
            )


if __name__ == "__main__":
    main()
