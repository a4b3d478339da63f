"""Pickles as V3 and Thera write them, made here by stand-ins for the libraries that they name; and such as would do
harm."""

import collections
import os
import pathlib
import pickle
import struct
import sys
import types

import numpy as np
import pytest
import torch

from vinr_engine.drop_in.thera import TheraQuery
from vinr_engine.drop_in.v3 import V3Query, V3Refine
from vinr_engine.models.checkpoint import CheckpointError
from vinr_engine.models.v3.checkpoint import FlaxCheckpoint
from vinr_engine.models.v3.pickles import read_tree

PROTOCOLS = pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
C, D = 6, 4


@pytest.fixture
def libraries(monkeypatch):
    """flax's frozen dictionary and an optimizer's state, under their names, while a pickle is written."""

    class FrozenDict:
        def __init__(self, content):
            self.content = content

        def __reduce__(self):
            return FrozenDict, (dict(self.content),)

    class Settings:
        def __init__(self):
            self.rate = 0.1

    State = collections.namedtuple("ScaleByAdamState", ["count", "mu"])
    for module, kinds in (("flax.core.frozen_dict", [FrozenDict]), ("optax._src.transform", [State, Settings])):
        parts = module.split(".")
        for n in range(1, len(parts) + 1):
            monkeypatch.setitem(sys.modules, ".".join(parts[:n]), types.ModuleType(".".join(parts[:n])))
        for kind in kinds:
            kind.__module__, kind.__qualname__ = module, kind.__name__
            setattr(sys.modules[module], kind.__name__, kind)
    return types.SimpleNamespace(FrozenDict=FrozenDict, State=State, Settings=Settings)


def arrays(axes, dtype=np.float32):
    rng = np.random.default_rng(0)
    frequencies = rng.normal(size=(1, 1, 3, D) if axes == 3 else (2, D))
    return {
        "out_conv": {
            "kernel": rng.normal(size=(1, 1, C, 4 * D)).astype(dtype),
            "bias": rng.normal(size=4 * D).astype(dtype),
        },
        "freqs" if axes == 3 else "components": np.asfortranarray(frequencies.astype(dtype)),
        "k": np.array(0.06, dtype),
    }


def refine():
    rng = np.random.default_rng(1)
    return {
        "layers_0": {"residual": {
            "layers_0": {"kernel": rng.normal(size=(3, 3, 3, C, C))},
            "layers_1": {"LayerNorm_0": {"scale": rng.normal(size=C), "bias": rng.normal(size=C)}},
            "layers_2": {"kernel": rng.normal(size=(1, 1, 1, C, 4 * C)), "bias": rng.normal(size=4 * C)},
            "layers_4": {"kernel": rng.normal(size=(1, 1, 1, 4 * C, C)), "bias": rng.normal(size=C)},
        }}
    }  # fmt: skip


def v3_content(libraries, **others):
    parameters = libraries.FrozenDict({**arrays(3), "refine": refine(), "encoder": {"w": np.ones((2, 3))}, **others})
    optimizer = {"state": [libraries.State(np.int32(3), arrays(3)), libraries.Settings()]}
    return {"model": {"params": parameters, "batch_stats": {}}, "optimizer": optimizer, "step": 5, "name": "v3"}


def written(path, content, protocol=4):
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@PROTOCOLS
def test_v3(libraries, tmp_path, protocol):
    path = written(tmp_path / "v3.pkl", v3_content(libraries), protocol)
    query, expected = V3Query.from_checkpoint(path), arrays(3)
    state = query.state_dict()
    assert set(state) == {"out_conv.kernel", "out_conv.bias", "freqs", "k"}
    np.testing.assert_array_equal(state["out_conv.kernel"], expected["out_conv"]["kernel"][0, 0])
    np.testing.assert_array_equal(state["out_conv.bias"], expected["out_conv"]["bias"])
    np.testing.assert_array_equal(state["freqs"], expected["freqs"][0, 0])
    assert state["k"] == np.float32(0.06)
    block = V3Refine.from_checkpoint(path)
    expected = refine()["layers_0"]["residual"]
    kernel = block.state_dict()["residual.layers_0.kernel"]
    np.testing.assert_array_equal(kernel, expected["layers_0"]["kernel"].astype(np.float32))
    np.testing.assert_array_equal(
        block.state_dict()["residual.layers_2.kernel"], expected["layers_2"]["kernel"][0, 0, 0].astype(np.float32)
    )


@pytest.mark.parametrize("dtype", [">f4", "f8", "f2"])
@PROTOCOLS
def test_thera(tmp_path, protocol, dtype):
    content = {"model": {"params": arrays(2, dtype)}, "backbone": "edsr-baseline", "size": "air"}
    query = TheraQuery.from_checkpoint(written(tmp_path / "thera.pkl", content, protocol))
    np.testing.assert_array_equal(query.components.detach(), arrays(2, dtype)["components"].astype(np.float32))


def test_the_loaded_query_gives_pictures(libraries, tmp_path):
    query = V3Query.from_checkpoint(written(tmp_path / "v3.pkl", v3_content(libraries)))
    assert query(torch.rand(2, 3, 4, C), torch.rand(2, 3, 4, 3), (6, 8), [0, 0.5, 1]).shape == (3, 6, 8, 3)


def test_a_checkpoint_of_the_other_network_is_named(libraries, tmp_path):
    thera = written(tmp_path / "thera.pkl", {"model": arrays(2), "backbone": "rdn", "size": "plus"})
    v3 = written(tmp_path / "v3.pkl", v3_content(libraries))
    with pytest.raises(CheckpointError, match="this is a Thera checkpoint, not one of V3"):
        V3Query.from_checkpoint(thera)
    with pytest.raises(CheckpointError, match="this is a V3 checkpoint, not one of Thera"):
        TheraQuery.from_checkpoint(v3)
    with pytest.raises(CheckpointError, match="this is a Thera checkpoint, which has no refining block"):
        V3Refine.from_checkpoint(thera)


def without(content, *path):
    node = content
    for name in path[:-1]:
        node = node[name]
    del node[path[-1]]
    return content


def put(value, *path):
    content = {"params": arrays(3)}
    node = content["params"]
    for name in path[:-1]:
        node = node[name]
    node[path[-1]] = value
    return content


BAD = {
    "another": (
        {"params": {"conv": {"kernel": np.ones(3)}}},
        "neither V3's nor Thera's parameters; it holds params.conv",
    ),
    "nothing": ({}, "neither V3's nor Thera's parameters; it holds no arrays"),
    "list": ([1, 2], "holds no parameters, but list"),
    "missing": (without({"params": arrays(3)}, "params", "out_conv", "bias"), "a V3 checkpoint without out_conv.bias"),
    "bias": (put(np.ones(5), "out_conv", "bias"), r"out_conv.bias must be \[16\], got \[5\]"),
    "kernel": (put(np.ones((3, 1, C, 4 * D)), "out_conv", "kernel"), r"out_conv.kernel must be \[1, 1, C, 4 D\]"),
    "freqs": (put(np.ones((2, D)), "freqs"), r"freqs must be \[.., 3, D\], got \[2, 4\]"),
    "k": (put(np.ones(2), "k"), r"k must be \[\], got \[2\]"),
    "nan": (put(np.full(4 * D, np.nan), "out_conv", "bias"), "NaN or infinite values in out_conv.bias"),
    "texts": (put(np.array(["a"] * 4), "out_conv", "bias"), "without out_conv.bias"),
    "objects": (put(np.array([None, {}]), "out_conv", "bias"), "without out_conv.bias"),
    "structures": (put(np.zeros(3, [("a", "f4"), ("b", "O")]), "k"), "not a pickle, or a damaged one"),
}


@pytest.mark.parametrize("what", BAD)
def test_other_content(tmp_path, what):
    content, message = BAD[what]
    with pytest.raises(CheckpointError, match=message):
        V3Query.from_checkpoint(written(tmp_path / "bad.pkl", content))


class Calls:
    """Pickled, it asks for a call when it is read."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def named(module, name, *arguments):
    """A pickle that imports `module.name` and calls it with texts."""
    given = b"".join(b"\x8c" + bytes([len(a)]) + a.encode() for a in arguments)
    return b"\x80\x04c" + module.encode() + b"\n" + name.encode() + b"\n(" + given + b"tR."


HARMFUL = [
    ("os", "system"), ("posix", "system"), ("builtins", "eval"), ("builtins", "exec"), ("builtins", "getattr"),
    ("builtins", "__import__"), ("subprocess", "Popen"), ("functools", "partial"), ("numpy", "load"),
    ("numpy.testing._private.utils", "runstring"), ("torch", "load"), ("pickle", "loads"),
    ("importlib", "import_module"), ("copyreg", "__newobj__"), ("vinr_engine.files", "draft"), ("optaxed", "f"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "name"), HARMFUL)
def test_what_would_run_code_is_refused_by_its_name(tmp_path, module, name):
    path, trace = tmp_path / "harm.pkl", tmp_path / "trace"
    path.write_bytes(named(module, name, f"touch {trace}"))
    with pytest.raises(CheckpointError, match=rf"refused: its pickle names {module}\.{name}, which would run code"):
        FlaxCheckpoint(path)
    assert not trace.exists()


@PROTOCOLS
def test_a_call_hidden_among_parameters(libraries, tmp_path, protocol):
    trace = tmp_path / "trace"
    content = v3_content(libraries, hook=Calls(os.system, f"touch {trace}"))
    with pytest.raises(CheckpointError, match=r"refused: its pickle names \w+\.system"):
        V3Query.from_checkpoint(written(tmp_path / "harm.pkl", content, protocol))
    assert not trace.exists()


def test_names_of_libraries_are_never_imported(monkeypatch, tmp_path):
    """Though one of that name lies on the path."""
    (tmp_path / "optax.py").write_text(f"open({str(tmp_path / 'trace')!r}, 'w')")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "imports.pkl"
    path.write_bytes(named("optax", "system", "x"))
    with pytest.raises(CheckpointError, match="holds no parameters, but Inert"):
        read_tree(path)
    assert not (tmp_path / "trace").exists()


def test_nothing_of_the_reader_changes(tmp_path):
    """A state set on what names stand for, of one's own choice."""
    for target in (b"cnumpy\ndtype\n", b"cflax.core.frozen_dict\nFrozenDict\n", b"coptax\nf\n", b"cnumpy\nndarray\n"):
        path = tmp_path / "state.pkl"
        path.write_bytes(b"\x80\x02" + target + b"N}X\x05\x00\x00\x00_callX\x01\x00\x00\x00xs\x86b.")
        with pytest.raises(CheckpointError):
            read_tree(path)
    np.testing.assert_array_equal(np.dtype("f4").itemsize, 4)
    assert isinstance(read_tree(written(tmp_path / "good.pkl", {"a": np.ones(2)}))["a"].value, np.ndarray)


def test_every_cut_is_an_error(libraries, tmp_path):
    whole = pickle.dumps(v3_content(libraries))
    path = tmp_path / "cut.pkl"
    for length in [*range(200), *range(200, len(whole), 97)]:
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="not a pickle, or a damaged one"):
            read_tree(path)


SIZES = {
    "bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 50) + b"x.",
    "memo": b"\x80\x04}r" + struct.pack("<I", (1 << 32) - 1) + b".",
    "number": b"\x80\x04\x8b" + struct.pack("<i", (1 << 31) - 1) + b"x.",
    "array": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nJ\xff\xff\xff\x7f\x85U\x01btR.",
    "negative": b"\x80\x04T\xff\xff\xff\xff.",
    "deep": b"\x80\x04" + b"(" * 10**5 + b".",
    "frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"}.",
}


@pytest.mark.parametrize("what", SIZES)
def test_sizes_that_files_claim(tmp_path, what):
    path = tmp_path / "large.pkl"
    path.write_bytes(SIZES[what])
    with pytest.raises(CheckpointError):
        FlaxCheckpoint(path)


def test_dictionaries_that_hold_themselves(tmp_path):
    itself = {"params": arrays(3)}
    itself["params"]["again"] = itself
    with pytest.raises(CheckpointError, match="hold themselves"):
        FlaxCheckpoint(written(tmp_path / "itself.pkl", itself))
    many = {}
    for _ in range(40):
        many = {"a": many, "b": many}
    with pytest.raises(CheckpointError, match="or too many others"):
        FlaxCheckpoint(written(tmp_path / "many.pkl", many))


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such checkpoint file"):
        FlaxCheckpoint(pathlib.Path(tmp_path / "none.pkl"))


def test_no_pickle(tmp_path):
    path = tmp_path / "text.pkl"
    path.write_text("parameters")
    with pytest.raises(CheckpointError, match="not a pickle, or a damaged one"):
        FlaxCheckpoint(path)
