"""What a run of the tool does not do: load modules that it has no use for, a compiler of 150 MB among them."""

import json
import platform
import subprocess
import sys

import pytest

from video.clips import panning, write

UNUSED = ["torch._dynamo", "torch._inductor", "torch.distributed.tensor", "sympy", "triton", "onnx", "rich", "PIL"]
RUN = """
import gc, json, sys
from vinr_engine.cli.__main__ import run
unused = json.loads(sys.argv.pop(1))
code = run()
print(json.dumps([code, [name for name in unused if name in sys.modules], gc.get_freeze_count() > 0]))
"""


def test_upscale_with_the_default_network_loads_no_compiler(tmp_path):
    source = write(tmp_path / "in.mp4", panning(2, 16, 16))
    words = ["upscale", source, tmp_path / "out.mp4", "--space", "2", "--time", "2", "--device", "cpu", "--quiet"]
    command = [sys.executable, "-c", RUN, json.dumps(UNUSED), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [0, [], True]


ARENAS = """
import ctypes, sys
from vinr_engine.cli.__main__ import run
libc = ctypes.CDLL(None)
stdout = ctypes.c_void_p.in_dll(libc, "stdout")
libc.malloc_info(0, stdout)
libc.puts(b"<run/>")
code = run()
libc.malloc_info(0, stdout)
libc.fflush(stdout)
sys.exit(code)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has arenas, and a report of them")
def test_threads_of_upscale_allocate_from_one_arena(tmp_path):
    source = write(tmp_path / "in.mp4", panning(2, 16, 16))
    words = ["upscale", source, tmp_path / "out.mp4", "--space", "2", "--time", "2", "--device", "cpu", "--quiet"]
    done = subprocess.run([sys.executable, "-c", ARENAS, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before, after = (part.count("<heap nr=") for part in done.stdout.split("<run/>"))
    assert after == before > 0
