"""Damage to files, as broken disks, broken programs and people with bad intentions do it."""

from __future__ import annotations

from random import Random

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF)
"""At the borders of what numbers in files can be."""


def mutated(data: bytes, others: list[bytes], rng: Random) -> bytes:
    """``data`` after one to eight changes, mostly few; ``others`` are files to take pieces of."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 4, 8))):
        found = CHANGES[rng.randrange(len(CHANGES))](found, others, rng)
    return bytes(found)


def _place(data: bytearray, rng: Random) -> int:
    """Anywhere, or near the beginning, where most of what matters stands."""
    return rng.randrange(len(data) + 1) if rng.random() < 0.5 else min(len(data), int(rng.expovariate(1 / 200)))


def _flip(data: bytearray, others: list[bytes], rng: Random) -> bytearray:
    at = _place(data, rng)
    if at < len(data):
        data[at] ^= 1 << rng.randrange(8)
    return data


def _number(data: bytearray, others: list[bytes], rng: Random) -> bytearray:
    at, size = _place(data, rng), rng.choice((1, 2, 4, 8))
    value = rng.choice(NUMBERS) & ((1 << 8 * size) - 1)
    data[at : at + size] = value.to_bytes(size, rng.choice(("big", "little")))
    return data


def _noise(data: bytearray, others: list[bytes], rng: Random) -> bytearray:
    at, size = _place(data, rng), rng.randrange(1, 64)
    data[at : at + size] = rng.randbytes(size)
    return data


def _cut(data: bytearray, others: list[bytes], rng: Random) -> bytearray:
    return data[: _place(data, rng)]


def _remove(data: bytearray, others: list[bytes], rng: Random) -> bytearray:
    at = _place(data, rng)
    del data[at : at + rng.randrange(1, 1 + max(1, len(data) // 4))]
    return data


def _repeat(data: bytearray, others: list[bytes], rng: Random) -> bytearray:
    at = _place(data, rng)
    piece = data[at : at + rng.randrange(1, 1 + max(1, len(data) // 4))]
    data[at:at] = piece
    return data


def _insert(data: bytearray, others: list[bytes], rng: Random) -> bytearray:
    at, other = _place(data, rng), rng.choice(others)
    begin = rng.randrange(len(other) + 1)
    data[at:at] = other[begin : begin + rng.randrange(1, 2048)]
    return data


def _join(data: bytearray, others: list[bytes], rng: Random) -> bytearray:
    return data + rng.choice(others)


def _swap(data: bytearray, others: list[bytes], rng: Random) -> bytearray:
    size = rng.randrange(1, 1 + max(1, len(data) // 8))
    first, second = sorted((_place(data, rng), _place(data, rng)))
    if first + size <= second and second + size <= len(data):
        data[first : first + size], data[second : second + size] = (
            data[second : second + size],
            data[first : first + size],
        )
    return data


CHANGES = (_flip, _flip, _number, _number, _noise, _cut, _remove, _repeat, _insert, _join, _swap)
