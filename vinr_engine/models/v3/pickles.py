"""Pickles of trees of numpy arrays, as flax networks are kept in, read without running what they name.

Nothing that a pickle names is imported: each name that arrays need has a stand-in here, names of the libraries that
training states hold objects of make objects that do nothing, and every other name is refused.
"""

from __future__ import annotations

import io
import os
import pathlib
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from vinr_engine.errors import CheckpointError

# Of training states: optimizers, loss scales, settings.
INERT = ("chex", "flax", "haiku", "jax", "jaxlib", "jmp", "ml_collections", "optax", "orbax")
_MOST_ENTRIES = 100_000


class Inert:
    """Stands for an object of a library that is not there. What it was made of is dropped."""

    __slots__ = ()

    def __new__(cls, *_: Any, **__: Any) -> Inert:
        return super().__new__(cls)

    def __setstate__(self, _: object) -> None:
        pass

    # A list's or a dictionary's entries.
    def append(self, _: object) -> None:
        pass

    def extend(self, _: object) -> None:
        pass

    def __setitem__(self, _: object, __: object) -> None:
        pass


class FrozenDict(dict[Any, Any]):
    """Flax's dictionary that cannot be changed."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        state = state[1] if isinstance(state, tuple) and len(state) == 2 and state[1] else state
        if isinstance(state, dict) and isinstance(state.get("_dict"), dict):
            self.update(state["_dict"])


class _Name:
    """A name that may be called, or handed on; a pickle can change nothing of it."""

    __slots__ = ("_call",)
    _call: Callable[..., Any]

    def __init__(self, call: Callable[..., Any]) -> None:
        object.__setattr__(self, "_call", call)

    def __setattr__(self, name: str, value: object) -> None:
        raise pickle.UnpicklingError(f"sets {name}")

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)


def _no_call(*_: Any) -> Any:
    raise pickle.UnpicklingError("makes what is no part of a checkpoint")


class _Dtype:
    """A plain dtype: of one number, no fields. numpy's own would believe what a pickle says of its insides."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, *_: Any) -> None:
        if not isinstance(code, str) or not re.fullmatch(r"[<>=|]?[a-zA-Z?][0-9]{0,4}", code):
            raise ValueError(code)
        self.code, self.order = code.lstrip("<>=|"), code[0] if code[0] in "<>" else "<"

    def __setstate__(self, state: Any) -> None:
        if any(part is not None for part in state[2:5]):
            raise ValueError("an array of structures")
        self.order = ">" if state[1] == ">" else "<"

    def read(self, data: Any, shape: Any, order: str) -> np.ndarray[Any, Any] | None:
        """None of what is neither a truth value nor a number."""
        if self.code[0] not in "?bBhHiIlLqQefdgFDuc" or not isinstance(data, (bytes, str, bytearray)):
            return None
        data = data if isinstance(data, bytearray) else _latin1(data)
        kind: np.dtype[Any] = np.dtype(self.code).newbyteorder(">" if self.order == ">" else "<")
        return np.frombuffer(data, kind).reshape(shape, order="F" if order == "F" else "C")


class StoredArray:
    """What a pickle says of an array; `value` is None where it is none of numbers."""

    __slots__ = ("value",)

    def __init__(self, *_: Any) -> None:
        self.value: np.ndarray[Any, Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        self.value = dtype.read(data, shape, "F" if fortran is True else "C")


def _scalar(dtype: _Dtype, data: Any = b"") -> Any:
    array = StoredArray()
    array.value = dtype.read(data, (), "C")
    return array


def _from_buffer(data: Any, dtype: _Dtype, shape: Any, order: Any = "C", *_: Any) -> StoredArray:
    array = StoredArray()
    array.value = dtype.read(data, shape, "F" if order == "F" else "C")
    return array


def _reconstructor(kind: Any, *_: Any) -> Any:
    """An object as protocols 0 and 1 write it; its state follows."""
    if isinstance(kind, type) and issubclass(kind, (Inert, FrozenDict)):
        return kind()
    return _no_call()


def _latin1(text: Any, encoding: Any = "latin1", *_: Any) -> bytes:
    """Bytes, which old protocols write as text."""
    return text if isinstance(text, bytes) else str(text).encode("latin1")


def _jax_array(make: Any, arguments: Any, state: Any, *_: Any) -> Any:
    array = make(*arguments)
    array.__setstate__(state)
    return array


def _names() -> dict[tuple[str, str], Any]:
    numpy = {"_reconstruct": _Name(StoredArray), "scalar": _Name(_scalar)}
    names: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): _Name(_no_call),
        ("numpy", "dtype"): _Name(_Dtype),
        ("_codecs", "encode"): _Name(_latin1),
        ("collections", "OrderedDict"): _Name(lambda *items: dict(*items)),
        ("flax.core.frozen_dict", "FrozenDict"): FrozenDict,
        ("jax._src.array", "_reconstruct_array"): _Name(_jax_array),
    }
    for core in ("numpy.core", "numpy._core"):  # before numpy 2, and since
        names |= {(f"{core}.multiarray", name): call for name, call in numpy.items()}
        names[f"{core}.numeric", "_frombuffer"] = _Name(_from_buffer)
    for builtins in ("builtins", "__builtin__"):
        names |= {(builtins, t.__name__): _Name(t) for t in (set, frozenset, complex, dict, list, tuple)}
        names[builtins, "object"] = _Name(_no_call)
        names[builtins, "bytearray"] = _Name(lambda data=b"", *encoding: bytearray(_latin1(data)))
    for copyreg in ("copyreg", "copy_reg"):
        names[copyreg, "_reconstructor"] = _Name(_reconstructor)
    return names


class _Unpickler(pickle._Unpickler):
    """Python's own in Python: the one in C fills memory up to the largest number that a file gives an object."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="latin1")
        self.names = _names()

    def find_class(self, module: str, name: str) -> Any:
        if found := self.names.get((module, name)):
            return found
        if module.split(".")[0] in INERT:
            return type("Inert", (Inert,), {"__slots__": ()})  # a class of its own, which nobody else has
        raise pickle.UnpicklingError(f"names {module}.{name}")

    def persistent_load(self, _: Any) -> Any:
        raise pickle.UnpicklingError("names an object outside of it")


def read_tree(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a pickle holds: dictionaries, the frozen ones too, of `StoredArray`, numbers and texts; `Inert` for others.

    Raises FileNotFoundError, or CheckpointError: no pickle, a damaged one, or one that would run code.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint file")
    try:
        tree = _Unpickler(io.BytesIO(path.read_bytes())).load()
    except pickle.UnpicklingError as error:
        if str(error).startswith(("names ", "sets ", "makes ")):
            raise CheckpointError(
                f"{path}: refused: its pickle {error}, which would run code, and parameters need none"
            ) from None
        raise CheckpointError(f"{path}: not a pickle, or a damaged one") from None
    except RecursionError:
        raise CheckpointError(f"{path}: nested too deep for a checkpoint") from None
    except MemoryError:
        raise CheckpointError(f"{path}: claims more memory than there is") from None
    # A damaged file lets the stack machine fail anywhere, and numpy with it.
    except Exception:
        raise CheckpointError(f"{path}: not a pickle, or a damaged one") from None
    if not isinstance(tree, dict):
        raise CheckpointError(f"{path}: holds no parameters, but {type(tree).__name__}")
    return tree


def arrays_of(path: str | os.PathLike[str], tree: dict[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """Arrays and numbers by their names from the root on, joined by dots. Raises CheckpointError."""
    found: dict[str, np.ndarray[Any, Any]] = {}
    entries = 0

    def visit(node: dict[Any, Any], prefix: str, above: frozenset[int]) -> None:
        nonlocal entries
        for name, value in node.items():
            entries += 1
            if id(value) in above or entries > _MOST_ENTRIES or len(above) > 100:
                raise CheckpointError(f"{path}: its dictionaries hold themselves, or too many others")
            if isinstance(value, dict):
                visit(value, f"{prefix}{name}.", above | {id(value)})
            elif isinstance(value, StoredArray) and value.value is not None and value.value.dtype.kind in "fiu":
                found[f"{prefix}{name}"] = value.value
            elif isinstance(value, float):
                found[f"{prefix}{name}"] = np.asarray(value)

    visit(tree, "", frozenset({id(tree)}))
    return found
