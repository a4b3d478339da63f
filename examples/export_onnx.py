"""Exports a small VideoINR to ONNX, and asks ONNX Runtime for a picture halfway between two frames.

    python examples/export_onnx.py FOLDER

Needs onnx and onnxscript. Where onnxruntime is installed, the two files are run as any other program would run them:
the encoder once for a pair of frames, the query for every size and time that is wanted of them.
"""

import sys
from importlib.util import find_spec

import numpy as np
import torch

import vinr_engine as vinr
from vinr_engine.export import Pair, to_onnx
from vinr_engine.models import SMALL_VIDEOINR, Network

FRAME = (48, 64)  # height and width; of frames of other sizes the last row and column are repeated up to multiples of 4
SIZE = (100, 150)
TIME = 0.5  # from 0 at the first frame to 1 at the second


def run(model: Network, pair: Pair) -> None:
    import onnxruntime

    frames = torch.rand(1, 2, 3, *FRAME)
    values = {
        "frames": frames.numpy(),
        "lr_size": np.array(FRAME),  # without the rows and columns that were repeated
        "times": np.array([TIME], np.float32),
        "size": np.array(SIZE),
    }
    for path in (pair.encoder, pair.query):  # what the encoder gives is what the query takes, by name
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        inputs, outputs = ([v.name for v in side] for side in (session.get_inputs(), session.get_outputs()))
        print(f"{path.name}: {', '.join(inputs)} -> {', '.join(outputs)}")
        values |= zip(outputs, session.run(outputs, {name: values[name] for name in inputs}), strict=True)
    with torch.inference_mode():
        first, second = (model.known(frame) for frame in frames.unbind(1))
        expected = model.query(model.encode_pair(first, second), frames, TIME, SIZE)
    difference = np.abs(values["image"] - expected.numpy()).max()
    print(f"picture {list(values['image'].shape)}, at most {difference:.1e} from PyTorch's")


def main(folder: str) -> None:
    model = vinr.load_network(SMALL_VIDEOINR)
    pair = to_onnx(model, folder, overwrite=True)
    print(f"wrote {pair.encoder} and {pair.query}")
    if find_spec("onnxruntime") is None:
        print("onnxruntime, which would run them, is not installed: pip install onnxruntime")
    else:
        run(model, pair)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/export_onnx.py FOLDER")
    main(sys.argv[1])
