"""What a run of the tool does not do: load modules that it has no use for, a compiler of 150 MB among them."""

import json
import subprocess
import sys

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
