"""What a run of the tool does not load: modules whose import takes longer, and more memory, than a short clip."""

import json
import subprocess
import sys

from video.clips import panning, write

HEAVY = ["torch._dynamo", "torch._inductor", "torch.distributed.tensor", "sympy", "triton", "onnx", "matplotlib"]
RUN = """
import json, sys
from vinr_engine.cli.main import main
code = main(sys.argv[2:])
print(json.dumps([code, [name for name in json.loads(sys.argv[1]) if name in sys.modules]]))
"""


def test_upscale_with_the_default_network_loads_no_compiler(tmp_path):
    source = write(tmp_path / "in.mp4", panning(2, 16, 16))
    words = ["upscale", source, tmp_path / "out.mp4", "--space", "2", "--time", "2", "--device", "cpu", "--quiet"]
    command = [sys.executable, "-c", RUN, json.dumps(HEAVY), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [0, []]
