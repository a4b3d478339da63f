"""What a run of the tool does not do: load modules that it has no use for, a compiler of 150 MB among them."""

import json
import os
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


ANSWERED = """
import json, sys
heavy = json.loads(sys.argv.pop(1))
from vinr_engine.cli.__main__ import run
code = run()
print(json.dumps([code, [name for name in heavy if name in sys.modules]]))
"""


@pytest.mark.parametrize(
    ("words", "code"),
    [(["--help"], 0), ([], 0), (["--version"], 0), (["upscale", "--help"], 0), (["evaluate", "--help"], 0),
     (["train", "--help"], 0), (["export", "onnx", "--help"], 0), (["downscale"], 2), (["upscale", "a.mp4"], 2),
     (["upscale", "a.mp4", "b.mp4", "--nonsense"], 2), (["upscale", "a.mp4", "b.mp4", "--space", "0"], 2)],
    ids=str,
)  # fmt: skip
def test_what_computes_nothing_loads_nothing_that_computes(words, code):
    heavy = ["torch", "numpy", "av", "PIL", "vinr_engine.ops"]
    done = subprocess.run([sys.executable, "-c", ANSWERED, json.dumps(heavy), *words], capture_output=True, text=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [code, []], done.stderr


def loaded(code):
    """What `code` prints in a new interpreter."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_the_package_loads_what_is_used():
    code = "import sys, vinr_engine as vinr\nprint('torch' in sys.modules, 'load_network' in dir(vinr))\n"
    code += "vinr.load_network, vinr.backend\nprint('torch' in sys.modules, 'av' in sys.modules)\n"
    code += "print(vinr.upscale.__module__, vinr.ops.conv3x3.__module__)"
    expected = ["False", "True", "True", "False", "vinr_engine.video.render", "vinr_engine.ops.conv3x3"]
    assert loaded(code) == expected


def test_every_public_name_is_there_and_no_other():
    code = "import vinr_engine as vinr\nfrom vinr_engine import *\n"
    code += "print(all(getattr(vinr, name) is globals()[name] for name in vinr.__all__), hasattr(vinr, 'nonsense'))"
    assert loaded(code) == ["True", "False"]


@pytest.mark.parametrize("code", ["import vinr_engine.ops, torch", "import torch, vinr_engine"])
def test_ops_are_registered(code):
    assert loaded(f"{code}\nprint(torch.ops.vinr.deform_conv2d.default.name())") == ["vinr::deform_conv2d"]


@pytest.mark.parametrize("given", [None, "ACTIVE"])
def test_threads_sleep_while_they_wait(given):
    """As OpenMP finds it when PyTorch loads it, unless the user says otherwise."""
    code = "import os, sys; from vinr_engine.cli.__main__ import run; run(); print(os.environ['OMP_WAIT_POLICY'])"
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if given is not None:
        environment["OMP_WAIT_POLICY"] = given
    done = subprocess.run([sys.executable, "-c", code, "--version"], env=environment, capture_output=True, text=True)
    assert done.stdout.split()[-1] == (given or "PASSIVE")
