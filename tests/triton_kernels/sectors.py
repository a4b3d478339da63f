"""The 32-byte sectors of memory that each program of a kernel touches, counted in Triton's interpreter."""

from contextlib import contextmanager

import numpy as np
from triton.runtime.interpreter import InterpreterBuilder

SECTOR = 32


@contextmanager
def counted():
    """Inside, gives a list that grows by (load or store, program, sectors) with every access of the interpreter."""
    accesses = []
    originals = InterpreterBuilder.create_masked_load, InterpreterBuilder.create_masked_store

    def note(self, what, pointers, mask):
        size = max(1, pointers.get_element_ty().primitive_bitwidth // 8)
        first = np.asarray(pointers.data)[np.asarray(mask.data)].astype(np.int64)
        touched = np.concatenate([first // SECTOR, (first + size - 1) // SECTOR])
        accesses.append((what, self.grid_idx, np.unique(touched)))

    def load(self, pointers, mask, *rest):
        note(self, "load", pointers, mask)
        return originals[0](self, pointers, mask, *rest)

    def store(self, pointers, value, mask, *rest):
        note(self, "store", pointers, mask)
        return originals[1](self, pointers, value, mask, *rest)

    InterpreterBuilder.create_masked_load, InterpreterBuilder.create_masked_store = load, store
    try:
        yield accesses
    finally:
        InterpreterBuilder.create_masked_load, InterpreterBuilder.create_masked_store = originals


def unique_by_program(accesses, tensor):
    """Sectors of a tensor that programs load, and that they store, each counted once a program."""
    first = tensor.data_ptr() // SECTOR
    last = (tensor.data_ptr() + tensor.numel() * tensor.element_size() - 1) // SECTOR
    found = {}
    for what, program, touched in accesses:
        inside = touched[(touched >= first) & (touched <= last)]
        if len(inside):
            found.setdefault((what, program), []).append(inside)
    return sum(len(np.unique(np.concatenate(parts))) for parts in found.values())
