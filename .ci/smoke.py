"""Runs an installed vinr_engine in small: what `.ci/run` does with each kind of installation."""

import argparse
import importlib
import pathlib
import tempfile

import numpy as np
import torch
from PIL import Image

import vinr_engine as vinr
from vinr_engine import backends


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prefix", type=pathlib.Path, required=True, help="folder where the package must lie")
    parser.add_argument("--extension", choices=("yes", "no"), required=True, help="whether there must be one")
    arguments = parser.parse_args()

    package = pathlib.Path(vinr.__file__).resolve().parent
    assert package.is_relative_to(arguments.prefix.resolve()), f"{package} is not under {arguments.prefix}"
    assert (package / "py.typed").exists()
    for name in ("export", "kernels"):
        importlib.import_module(f"vinr_engine.{name}")

    extension = backends.extension()
    built = arguments.extension == "yes"
    assert (extension.path is not None) == built, extension
    assert {s.name: s.available for s in backends.report()}["cpu"] == built, backends.report()

    torch.manual_seed(0)
    model = vinr.VideoINR(nf=16, groups=2, front_blocks=1, back_blocks=1).eval()
    frames = torch.rand(1, 2, 3, 12, 16)
    with torch.no_grad():
        out = model(frames, [0.0, 0.5], (24, 32))
        with vinr.backend("reference"):
            reference = model(frames, [0.0, 0.5], (24, 32))
    assert out.shape == (1, 2, 3, 24, 32), out.shape
    assert (out - reference).abs().max() < 1e-4

    with tempfile.TemporaryDirectory() as folder:
        source, result = pathlib.Path(folder, "source"), pathlib.Path(folder, "result")
        source.mkdir()
        for i, picture in enumerate(np.random.default_rng(0).integers(0, 256, (3, 12, 16, 3), dtype=np.uint8)):
            Image.fromarray(picture).save(source / f"{i:03}.png")
        summary = vinr.upscale(source, result, space=2, time=2, model=model)
        pictures = sorted(result.glob("*.png"))
        assert len(pictures) == summary.frames_out >= 5, summary
        for picture in pictures:
            with Image.open(picture) as image:
                assert image.size == (32, 24), image.size
    print(f"vinr_engine {vinr.__version__} in {package}: runs, extension {arguments.extension}")


if __name__ == "__main__":
    main()
