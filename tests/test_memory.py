"""What --memory takes, what is free, and whether estimates are true."""

import subprocess
import sys

import pytest
import torch

from vinr_engine import BFSTVSR, memory
from vinr_engine.errors import UsageError
from vinr_engine.models import load_network


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4GB", 4 * 10**9),
        ("512MB", 512 * 10**6),
        ("1.5 gb", 1_500_000_000),
        ("2GiB", 2**31),
        ("77B", 77),
        ("50%", 500),
        ("100%", 1000),
    ],
)
def test_sizes(text, expected):
    assert memory.parse(text, 1000) == expected


@pytest.mark.parametrize("text", ["", "4", "GB", "-1GB", "0MB", "0%", "101%", "4XB", "nan GB", "half"])
def test_what_is_no_size(text):
    with pytest.raises(UsageError, match="--memory must be"):
        memory.parse(text, 1000)


def host(tmp_path, groups, files, available="8000 kB"):
    for path, text in {"proc/meminfo": f"MemAvailable:   {available}\n", "proc/self/cgroup": groups, **files}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return memory.free_on_host(tmp_path)


def test_free_is_what_the_system_says(tmp_path):
    assert (
        host(tmp_path, "0::/\n", {"sys/fs/cgroup/memory.max": "max\n", "sys/fs/cgroup/memory.current": "5"}) == 8192000
    )


def test_free_is_what_a_group_leaves(tmp_path):
    files = {
        "sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/b/memory.current": "5\n",
        "sys/fs/cgroup/a/memory.max": "3000\n", "sys/fs/cgroup/a/memory.current": "1000\n",
        "sys/fs/cgroup/a/memory.stat": "anon 1\ninactive_file 300\n",
    }  # fmt: skip
    assert host(tmp_path, "0::/a/b\n", files) == 2300


def test_free_in_groups_of_the_first_version(tmp_path):
    base = "sys/fs/cgroup/memory/x/memory"
    files = {f"{base}.limit_in_bytes": "5000\n", f"{base}.usage_in_bytes": "4000\n"}
    assert host(tmp_path, "4:cpu:/x\n3:memory:/x\n", files) == 1000


def test_the_default_is_half_of_what_is_free(monkeypatch):
    monkeypatch.setattr(memory, "free_on_host", lambda: 10**10)
    assert memory.budget(None, torch.device("cpu")) == 5 * 10**9
    assert memory.budget("25%", torch.device("cpu")) == 2_500_000_000
    assert memory.default(1_200_000_000) == 10**9
    assert memory.default(7 * 10**8) == 7 * 10**8


def test_text_of_sizes_never_says_less():
    assert memory.text_of(1_234_567_890) == "1.3GB"
    assert memory.text_of(200_000_000) == "200MB"


PROGRAM = """
import re, torch
from vinr_engine import BFSTVSR
from vinr_engine.models import load_network
peak = lambda: 1024 * int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
model, frames, size, times = {network}, ({h}, {w}), ({H}, {W}), {times}

def pictures(first, second, size):
    known = model.known(first, size), model.known(second, size)
    return model.query(model.encode_pair(*known), torch.stack([first, second], 1), times, size)

with torch.inference_mode():
    a = torch.rand(1, 3, *frames)
    b = a.roll(5, 3)
    pictures(a[..., :32, :32], b[..., :32, :32], (64, 64))
    before = peak()
    pictures(a, b, size)
print(peak() - before)
"""


def check_estimate(network, times, frames, scale):
    """Of what a process takes that runs it."""
    size = (frames[0] * scale, frames[1] * scale)
    program = PROGRAM.format(network=network, times=times, h=frames[0], w=frames[1], H=size[0], W=size[1])
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    peak = int(found.stdout) + memory.PROCESS
    pictures, pair = 12 * size[0] * size[1], 24 * frames[0] * frames[1]
    model = BFSTVSR() if network == "BFSTVSR()" else load_network(None)
    said = model.need(frames, size).whole + pictures + pair + memory.PROCESS
    assert said == pytest.approx(peak, rel=0.1)


reads_proc = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")


@pytest.mark.slow
@reads_proc
@pytest.mark.parametrize(("frames", "scale"), [((540, 960), 2), ((720, 1280), 1), ((360, 640), 4)])
def test_estimates_of_the_shipped_network(frames, scale):
    check_estimate("load_network(None)", 0.5, frames, scale)


@pytest.mark.slow
@reads_proc
@pytest.mark.parametrize(("frames", "scale"), [((180, 320), 4), ((360, 640), 1), ((360, 640), 2)])
def test_estimates_of_bf_stvsr(frames, scale):
    """Of as many pictures as it likes to make together."""
    check_estimate("BFSTVSR()", [n / 8 for n in range(BFSTVSR.together)], frames, scale)
