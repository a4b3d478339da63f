"""Access to the outputs of the published network in tests/golden, see its README."""

import importlib.util
import pathlib

import numpy as np
import torch

FOLDER = pathlib.Path(__file__).parent / "golden"
NETWORK_CASES = ("scale4_test", "scale3_test", "anisotropic_test", "fractional_train", "downscale1_train")


def _module(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


weights = _module("golden_weights", FOLDER / "weights.py")
sibling_weights = _module("golden_sibling_weights", FOLDER / "siblings" / "weights.py")


def load(name):
    """The arrays of a case, by name."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def tensors(name, dtype):
    """The arrays of a case as tensors, floating-point ones in `dtype`."""
    return {
        key: torch.from_numpy(a).to(dtype) if a.dtype.kind == "f" and a.ndim else a for key, a in load(name).items()
    }


def frame_upsample(case):
    return 4 if case.endswith("_test") else 1


def model(seed, dtype):
    """The published-size network with the parameters of a case."""
    import vinr_engine as vinr

    with torch.device("meta"):
        network = vinr.VideoINR()
    state = {name: torch.from_numpy(a) for name, a in weights.state_dict(int(seed), np.float64).items()}
    network.load_state_dict({name: t.to(dtype) for name, t in state.items()}, assign=True)
    return network


def sibling_cases(network, dtype=torch.float64):
    """Cases of another network of the family, tests/golden/siblings: name -> its arrays as tensors, by name.

    Whole numbers and sizes are NumPy's. What belongs to all cases stands under the name "".
    """
    cases = {}
    for key, value in tensors(f"siblings/{network}", dtype).items():
        case, _, name = key.rpartition("/") if key.count("/") < 2 else key.partition("/")
        cases.setdefault(case, {})[name] = value
    return cases


def sibling_parameters(network, seed, dtype=torch.float64, **options):
    """The parameters of a case, by the names of the network's checkpoints."""
    drawn = getattr(sibling_weights, network)(int(seed), **options)
    return {name: torch.from_numpy(np.asarray(value)).to(dtype) for name, value in drawn.items()}
