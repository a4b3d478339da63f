"""How much memory a run may take, and how much its parts take."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vinr_engine.errors import UsageError

if TYPE_CHECKING:
    import torch

Size = tuple[int, int]
"""Height and width."""

FORMS = "a size such as 4GB or 512MB, or a share of what is free such as 50%"
SHARE = 0.5
"""Of what is free: the default."""
LITTLE = 10**9
"""Bytes that the default takes where they are free, though they be more than its share: small frames need them."""
_UNITS = {"B": 1} | {p + unit: base**n for n, p in enumerate("KMGT", 1) for unit, base in (("B", 1000), ("IB", 1024))}

PROCESS = 450 * 10**6
"""Bytes of a process with everything loaded, and of what its heaps hold in pieces; measured, as the next two."""
INPUT, OUTPUT = 8, 4
"""Pictures of either size in float32 at most: read ahead, decoded, paired; made, waiting, converted."""
ENCODER = 170
"""Bytes an output pixel of x264 with all frames that it looks ahead, by its own defaults."""
LARGE, LARGE_ENCODER, LARGE_LOOKAHEAD = 10**7, 70, 8
"""From so many output pixels on it looks ahead over few frames, and takes so many bytes a pixel."""


@dataclass(frozen=True)
class Need:
    """Bytes that a network takes for frames of one size and pictures of another: what it keeps of a frame and of a
    pair, and what comes and goes beside that, at most."""

    frame: int
    pair: int
    working: int

    @property
    def whole(self) -> int:
        """Of a pair, its frames and one picture."""
        return 2 * self.frame + self.pair + self.working


def parse(text: str, free: int) -> int:
    """Bytes of a text such as 4GB, 512MB or 50%, of what is `free`. UsageError naming the forms taken."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-z]+|%)\s*", text)
    unit = match[2].upper() if match else ""
    if match is None or not (unit == "%" or unit in _UNITS):
        raise UsageError(f"--memory must be {FORMS}, got {text!r}")
    value = float(match[1])
    if unit == "%":
        if not 0 < value <= 100:
            raise UsageError(f"--memory must be more than 0% and at most 100%, got {text!r}")
        return int(value / 100 * free)
    if value <= 0:
        raise UsageError(f"--memory must be more than nothing, got {text!r}")
    return int(value * _UNITS[unit])


def _numbers(path: Path) -> int | None:
    try:
        return int(path.read_text().split()[0])
    except (OSError, ValueError, IndexError):  # "max" is no number
        return None


def _groups(root: Path) -> Iterator[tuple[Path, str, str]]:
    """Folders of the control groups that this process is in and of those above, with their files' names."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, names = root / "sys/fs/cgroup", ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            base, names = root / "sys/fs/cgroup/memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        here = base / path.lstrip("/")
        yield from ((folder, *names) for folder in (here, *here.parents) if folder == base or base in folder.parents)


def free_on_host(root: Path = Path("/")) -> int:
    """Bytes that this process can still take: of the machine, and of the control groups it is in.

    Without /proc, as on macOS, half of the machine's memory.
    """
    found: list[int] = []
    try:
        text = (root / "proc/meminfo").read_text()
        found.append(int(re.findall(r"MemAvailable:\s*(\d+) kB", text)[0]) * 1024)
    except (OSError, IndexError):
        import os

        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    for folder, limit, used in _groups(root):
        most, now = _numbers(folder / limit), _numbers(folder / used)
        if most is not None and now is not None:
            # what files hold counts as used there, and is given back
            cached = re.findall(r"^(?:total_)?inactive_file (\d+)$", _text(folder / "memory.stat"), re.M)
            found.append(max(0, most - now + max(map(int, cached), default=0)))
    return min(found)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def free(device: torch.device) -> int:
    """Bytes that are free where a network runs: on a CUDA device, else on the host."""
    if device.type == "cuda":
        import torch

        return torch.cuda.mem_get_info(device)[0]
    return free_on_host()


def budget(text: str | None, device: torch.device) -> int:
    """Bytes to stay within; `text` as of --memory, None for half of what is free. UsageError."""
    available = free(device)
    return default(available) if text is None else parse(text, available)


def default(available: int) -> int:
    """Of so many bytes that are free."""
    return max(int(SHARE * available), min(available, LITTLE))


def pictures(frames: Size, size: Size) -> int:
    """Bytes of the pictures of a run, in float32, beside what a network keeps."""
    return 12 * (INPUT * frames[0] * frames[1] + OUTPUT * size[0] * size[1])


def encoder_options(codec: str, size: Size) -> dict[str, str]:
    """What keeps an encoder's memory within bounds, for pictures of (height, width) `size`."""
    large = size[0] * size[1] >= LARGE
    return {"rc-lookahead": str(LARGE_LOOKAHEAD)} if large and codec == "libx264" else {}


def fixed(frames: Size, size: Size, device: torch.device) -> int:
    """Bytes that a run takes whatever the network does: on a GPU, the pictures alone."""
    if device.type == "cuda":
        return pictures(frames, size) // 2
    out = size[0] * size[1]
    return PROCESS + pictures(frames, size) + (LARGE_ENCODER if out >= LARGE else ENCODER) * out


def text_of(size: int) -> str:
    """Bytes as people write them, rounded up."""
    unit, name = (10**9, "GB") if size >= 10**9 else (10**6, "MB")
    return f"{-(-size * 10 // unit) / 10:g}{name}"
