"""What single pieces make of tests that crash, of tools' output, and of a run's log."""

import csv
import time

import pytest

from benchmarks.gpu.kit import launches, tests, tools, training
from benchmarks.gpu.kit.recorder import breaks_the_gpu

TESTS = """
import os, pytest, time

def test_passes(): pass
def test_fails(): assert 1 == 2
def test_skips(): pytest.skip("no reason")
def test_dies(): os.abort()
def test_after(): pass
def test_loses_the_gpu(): raise RuntimeError("CUDA error: an illegal memory access was encountered")
def test_in_a_new_process(): assert os.getpid() != int(os.environ.get("FIRST_PID", 0))
@pytest.mark.xfail(reason="known")
def test_known(): assert False
"""


def runner(folder, seconds=120.0):
    return tests.Runner(folder, time.monotonic() + seconds, 1, lambda: None)


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """A folder of tests and their names; the process that runs them is started in it."""
    (tmp_path / "test_some.py").write_text(TESTS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tests.ROOT))
    names = [f"test_some.py::{line[4:].split('(')[0]}" for line in TESTS.splitlines() if line.startswith("def ")]
    return tmp_path, names


def test_a_crash_costs_one_test(suite):
    folder, names = suite
    (folder / "work").mkdir()
    runner(folder / "work").run(names)
    done = tests.outcomes(folder / "work" / tests.RECORDED)
    short = {name.split("::")[1]: done[name]["outcome"] for name in names}
    assert short == {
        "test_passes": "passed", "test_fails": "failed", "test_skips": "skipped", "test_dies": "crashed",
        "test_after": "passed", "test_loses_the_gpu": "failed", "test_in_a_new_process": "passed",
        "test_known": "xfailed",
    }  # fmt: skip
    assert done[names[3]]["message"] == "its process ended: SIGABRT"
    assert "assert 1 == 2" in done[names[1]]["message"]
    found = tests.summary(names, ["tests/test_broken.py"], done)
    assert found["counts"] == {"passed": 3, "failed": 2, "skipped": 1, "crashed": 1, "xfailed": 1}
    assert [entry["id"].split("::")[1] for entry in found["failed"]] == [
        "test_fails",
        "test_dies",
        "test_loses_the_gpu",
    ]
    assert found["not_collected"] == ["tests/test_broken.py"]


def test_a_later_call_runs_the_rest(suite):
    folder, names = suite
    (folder / "work").mkdir()
    runner(folder / "work").run(names[:3])
    before = (folder / "work" / tests.RECORDED).read_text()
    runner(folder / "work", seconds=0.0).run(names)  # no time: nothing is run, nothing is lost
    assert (folder / "work" / tests.RECORDED).read_text() == before
    runner(folder / "work").run(names)
    after = (folder / "work" / tests.RECORDED).read_text()
    assert after.startswith(before)
    assert after.count('"id"') == len(names)


def test_what_leaves_a_process_without_a_gpu():
    assert breaks_the_gpu("RuntimeError: CUDA error: unspecified launch failure")
    assert breaks_the_gpu("Triton Error [CUDA]: misaligned address")
    assert not breaks_the_gpu("AssertionError: Tensor-likes are not close!")


HEAD = ("ID", "Process ID", "Process Name", "Host Name", "Kernel Name", "Context", "Stream", "Block Size", "Grid Size",
        "Device", "CC", "Section Name", "Metric Name", "Metric Unit", "Metric Value", "Rule Name")  # fmt: skip


def line_of_ncu(number, kernel, section, name="", unit="", value="", rule=""):
    cells = (number, "12", "python", "127.0.0.1", kernel, "1", "7", "(256, 1, 1)", "(132, 1, 1)", "0", "9.0", section,
             name, unit, value, rule)  # fmt: skip
    return ",".join(f'"{cell}"' for cell in cells)


NCU = [
    "==PROF== Connected to process 12",
    '==PROF== Profiling "decode_kernel": 0%....100%',
    "query published float16 cuda: error 0.00085",
    ",".join(f'"{name}"' for name in HEAD),
    line_of_ncu("0", "decode_kernel", "GPU Speed Of Light Throughput", "Duration", "us", "151.26"),
    line_of_ncu("0", "decode_kernel", "Launch Statistics", "Grid Size", "", "1,132"),
    line_of_ncu("0", "decode_kernel", "SpeedOfLight", rule="SOLBottleneck"),
    line_of_ncu("1", "colour_kernel", "Launch Statistics", "Function Cache Configuration", "", "CachePreferNone"),
]


def test_counters_of_ncu():
    decode, colour = tools.counters(NCU)
    assert decode["kernel"] == "decode_kernel"
    assert decode["metrics"] == {
        "Duration": {"value": 151.26, "unit": "us"},
        "Grid Size": {"value": 1132.0, "unit": ""},
    }
    assert colour["metrics"]["Function Cache Configuration"]["value"] == "CachePreferNone"
    assert tools.counters(["==ERROR== No kernels were profiled"]) == []


def test_what_compute_sanitizer_says():
    launched = "query published float16 cuda: error 0.0009\n"
    good = tools.sanitized("memcheck", 0, launched + "========= ERROR SUMMARY: 0 errors\n")
    assert (good["clean"], good["summary"]) == (True, "0 errors; 1 launches")
    text = "========= Invalid __global__ read of size 16 bytes\n========= ERROR SUMMARY: 3 errors\n"
    bad = tools.sanitized("memcheck", tools.FOUND_ERRORS, launched + text)
    assert (bad["clean"], bad["reports"]) == (False, text.splitlines())
    silent = tools.sanitized("racecheck", 0, launched)
    assert (silent["clean"], silent["summary"]) == (False, "no summary, exit code 0; 1 launches")
    race = "========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)\n"
    assert tools.sanitized("racecheck", 0, race)["clean"]


def test_a_tool_that_is_not_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tools.shutil, "which", lambda name: None)
    for tool, program in (("ncu", "ncu"), ("memcheck", "compute-sanitizer")):
        assert tools.main([tool, "--out", str(tmp_path / "a.json"), "--folder", str(tmp_path)]) == 3
        assert capsys.readouterr().out == f"{program} is not on PATH: it comes with the CUDA toolkit\n"


def test_every_cuda_kernel_is_launched():
    names = [launch.name for launch in launches.launches()]
    assert len(set(names)) == len(names) == 18
    for operands in ("float32", "tf32", "float16", "bfloat16"):
        for which in ("deform_conv2d wide", "deform_conv2d narrow", "query published", "query other"):
            assert f"{which} {operands} cuda" in names
    for name in tools.COUNTED:
        assert name in names


def test_a_wrong_result_of_a_launch_is_found(monkeypatch, capsys):
    assert launches.main(["--dry-run", "--match", "narrow float16", "--size", "5x6"]) == 0
    monkeypatch.setattr(launches, "error_of", lambda *arguments: float("nan"))
    assert launches.main(["--dry-run", "--match", "narrow float16", "--size", "5x6"]) == 1
    with pytest.raises(SystemExit):
        launches.main(["--dry-run", "--match", "nothing"])


def write_log(folder, rows):
    (folder / "run").mkdir()
    with open(folder / "run" / "log.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["step", "seconds", "loss", "bad_steps", "gain_end", "gain_between"])
        writer.writeheader()
        writer.writerows(rows)


def test_facts_of_a_run(tmp_path):
    write_log(tmp_path, [
        {"step": 10, "seconds": 30.0, "loss": 9.0, "bad_steps": 0},
        {"step": 20, "seconds": 31.0, "loss": 7.0, "bad_steps": 0},
        {"step": 30, "seconds": 32.0, "loss": 5.0, "bad_steps": 0},
        {"step": 40, "seconds": 33.5, "loss": 4.0, "bad_steps": 0, "gain_end": 1.5, "gain_between": 0.5},
    ])  # fmt: skip
    run = training.Run(tmp_path / "run", "gpu", (), 40)
    found = run.facts()
    assert found["ms_per_step"] == pytest.approx(125.0)  # without the first line, in which kernels are compiled
    assert (found["step"], found["loss"], found["gain_between"]) == (40, [9.0, 4.0], 0.5)
    assert not run.done
    assert training.Run(tmp_path / "none", "gpu", (), 40).facts() == {"step": 0, "steps": 40}


def test_training_without_its_packages(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training, "NEEDED", ("no_such_module_at_all",))
    assert training.main(["float32", "--out", str(tmp_path / "a.json"), "--folder", str(tmp_path)]) == 3
    assert "no_such_module_at_all" in capsys.readouterr().out


def test_the_train_pieces_change_keys_that_there_are(tmp_path):
    pytest.importorskip("pydantic")
    from vinr_engine.training.config import load

    for name in training.RECIPE:
        for run in training.recipe(name, tmp_path, dry=False):
            config = load(preset=run.preset, changes=run.changes)
            assert (config.steps, config.stages[0].batch, config.stages[0].data.source) == (300, 24, "procedural")
            assert config.deterministic == (name == "deterministic")
    steps, more, decay = training.preset_steps()
    assert decay < steps + more


@pytest.mark.slow
def test_recorder_counts_setup_errors_and_teardowns(suite):
    folder, _ = suite
    (folder / "test_more.py").write_text(
        "import pytest\n@pytest.fixture\ndef broken(): raise ValueError('setup')\n"
        "@pytest.fixture\ndef late():\n    yield\n    raise ValueError('teardown')\n"
        "def test_a(broken): pass\ndef test_b(late): pass\n"
    )
    (folder / "work").mkdir()
    names = ["test_more.py::test_a", "test_more.py::test_b"]
    runner(folder / "work").run(names)
    done = tests.outcomes(folder / "work" / tests.RECORDED)
    assert [done[name]["outcome"] for name in names] == ["error", "error"]
