"""Triton's interpreter made to round as a GPU does, and faster; tests/triton_kernels/test_interpreter.py tests it.

As it comes it holds bfloat16 as 16-bit integers: products and sums of them are those of integers, and casts round ties
away from zero without carrying into the exponent. Products of tf32 operands are done with all of float32's bits. Half
of its time goes into checks of integers for overflow, and much of the rest into finding at every call what it patches.
"""

import dataclasses
import functools
from contextlib import contextmanager

import numpy as np
import torch
import triton
import triton.language as tl
from triton._C.libtriton import ir
from triton.runtime import interpreter

from vinr_engine.kernels.common import runtime

# The first version whose interpreter is known to compute as a GPU does once it is mended: that of 3.6 rounds a fused
# multiply-add twice, and fails with NumPy 2.5.
EXACT_FROM = (3, 9)
Handle, Builder, Function = interpreter.TensorHandle, interpreter.InterpreterBuilder, interpreter.InterpretedFunction


def inexact():
    """Why this Triton's interpreter cannot stand for a GPU; empty if it can."""
    version = tuple(int(part) for part in triton.__version__.split(".")[:2])
    oldest = ".".join(map(str, EXACT_FROM))
    if version >= EXACT_FROM:
        return ""
    return f"the interpreter of Triton {triton.__version__} is not exact, that of {oldest} is"


def widen(bits):
    """bfloat16 as uint16 -> float32"""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def narrow(values):
    """float32 -> bfloat16 as uint16, ties to even"""
    tensor = torch.from_numpy(np.array(values, dtype=np.float32))  # a copy: views may be read-only or strided
    return tensor.to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)


def to_tf32(values):
    """float32 -> float32 with 10 bits of fraction, ties to even; Triton before 3.7 has none to borrow"""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0xFFF) + (bits >> 13 & np.uint32(1))) & np.uint32(0xFFFFE000)
    return np.where(np.isfinite(values), rounded.view(np.float32), values)


def _is(handle, dtype):
    return handle.dtype.scalar == dtype


def _cast(_original):
    def cast(self, src, dst_type):
        to = dst_type.scalar
        if _is(src, to):
            return src
        if _is(src, tl.bfloat16):
            src = Handle(widen(src.data), tl.float32)
        if to == tl.bfloat16:
            return Handle(narrow(src.data), tl.bfloat16)
        return Handle(src.data.astype(interpreter._get_np_dtype(to)), to)

    return cast


def _fp_to_fp(original):
    def convert(self, src, dst_type, rounding_mode):
        if rounding_mode not in (None, ir.ROUNDING_MODE.RTNE):
            return original(self, src, dst_type, rounding_mode)
        return self.cast_impl(src, dst_type)

    return convert


def _binary(original):
    def binary(self, lhs, rhs, op):
        if _is(lhs, tl.bfloat16) or _is(rhs, tl.bfloat16):
            raise TypeError("the interpreter computes bfloat16 as integers: kernels compute in float32")
        return original(self, lhs, rhs, op)

    return binary


def _dot(original):
    def dot(self, a, b, d, input_precision, max_num_imprecise_acc):
        if _is(a, tl.bfloat16):
            a, b = (Handle(widen(x.data), tl.float32) for x in (a, b))
        elif _is(a, tl.float16):  # numpy multiplies these one by one
            a, b = (Handle(x.data.astype(np.float32), tl.float32) for x in (a, b))
        elif _is(a, tl.float32) and input_precision == ir.INPUT_PRECISION.TF32:
            a, b = (Handle(to_tf32(x.data), tl.float32) for x in (a, b))
        return original(self, a, b, d, input_precision, max_num_imprecise_acc)

    return dot


@functools.cache
def _prepared(function):
    interpreter._patch_lang(function.fn)
    return function.rewrite()


def _call(_original):
    def call(self, *args, **kwargs):
        return _prepared(self)(*args, **kwargs)

    return call


@contextmanager
def exact_interpreter():
    """Inside, Triton's interpreter rounds and multiplies as a GPU does, and kernels may be given bfloat16."""
    patches = [
        (Builder, "cast_impl", _cast),
        (Builder, "create_fp_to_fp", _fp_to_fp),
        (Builder, "binary_op", _binary),
        (Builder, "create_dot", _dot),
        (Function, "__call__", _call),
    ]
    originals = [(where, name, getattr(where, name)) for where, name, _ in patches]
    for where, name, patch in patches:
        setattr(where, name, patch(getattr(where, name)))
    options = interpreter.interpreter_builder.options
    interpreter.interpreter_builder.options = dataclasses.replace(options, sanitize_overflow=False)
    runtime.interpreter_knows_bfloat16 = True
    try:
        with np.errstate(all="ignore"):  # infinity and NaN are no accident
            yield
    finally:
        runtime.interpreter_knows_bfloat16 = False
        interpreter.interpreter_builder.options = options
        for where, name, original in originals:
            setattr(where, name, original)
