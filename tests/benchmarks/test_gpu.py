"""`benchmarks.gpu`, rehearsed on the CPU: all of its logic, none of its times."""

import io
import json
import sys
from dataclasses import replace

import pytest
import torch

from benchmarks import gpu, gpu_cases, gpu_clock, gpu_worker, published
from benchmarks.gpu_cases import TOLERANCES, Builder, Case
from benchmarks.gpu_plan import plan
from benchmarks.gpu_session import Session
from benchmarks.gpu_worker import FAILED, OK, SKIPPED, UNAVAILABLE, WRONG, Row, Worker
from benchmarks.screen import Plain
from vinr_engine import backends

CPU = torch.device("cpu")
DRY = plan(dry=True, quick=True)
# A worker without torch. What it is told to do at "kind op form" is "end", "hang", "garble", "last" (after which none
# starts) or an error's text.
STAND_IN = """
import json, os, sys, time
def say(**message):
    print(json.dumps(message), flush=True)
fates = json.loads(sys.argv[1])
def at(place, form=None):
    if form:
        say(at=form)
    fate = fates.get(place)
    if fate == "end":
        os.kill(os.getpid(), 9)
    if fate == "hang":
        time.sleep(600)
    if fate == "last":
        os.remove(__file__)
        os._exit(1)
    if fate == "garble":
        print('{"at": "ea', end="", flush=True)
        os._exit(7)
    if fate:
        say(error=fate)
        sys.exit(1)
at("start")
say(answer={"device": "stand-in"})
for line in sys.stdin:
    asked = json.loads(line)
    if asked["kind"] == "peaks":
        at("peaks")
        say(answer={"matrix": {"float32": 1e12, "float16": 1e12}, "copy": 1e12})
        continue
    op, rows = asked["case"]["op"], []
    for form in ("reference", "eager", "compile", "cpu"):
        if form not in asked["without"] and (form != "compile" or op in ("deform_conv2d", "sampled_mlp", "query")):
            at(asked["kind"] + " " + op + " " + form, form)
            if form != "reference":
                ms = 1.0 if asked["kind"] == "time" else None
                rows.append({"case": op + " 7x6", "form": form, "precision": asked["precision"], "ms": ms})
    say(answer=rows)
"""


@pytest.fixture(autouse=True)
def no_interpreter(monkeypatch):
    """It takes a minute where the cpu backend and the reference take a second."""
    monkeypatch.setattr(backends.triton_runtime, "INTERPRETED", False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(published, "DEFORM_SOURCE", "reference")  # there may or may not be a torchvision


def worker(begin=lambda form: None):
    return Worker(CPU, DRY, begin)


def session(tmp_path, cases=(), fates=None):
    """Of stand-ins, each of which meets its fate where it is told to."""
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    command = [sys.executable, str(script), json.dumps(fates or {})]
    chosen = replace(DRY, checks=cases, times=cases)
    return Session(CPU, chosen, tmp_path / "gpu.json", Plain(io.StringIO()), (), command, timeout=4.0)


def report(tmp_path, ops, **fates):
    """What the file holds after a run; fates: as of STAND_IN, with underlines for spaces."""
    run = session(tmp_path, tuple(Case(op, 6, 7, ("float32",)) for op in ops), fates)
    run.run()
    return json.loads(run.path.read_text())


def found(rows, op):
    """Status and note of every form."""
    return {row["form"]: (row["status"], row["note"]) for row in rows if row["case"].startswith(f"{op} 7x6")}


def test_rehearsal(tmp_path, capsys):
    path = tmp_path / "out" / "gpu.json"
    assert gpu.main(["--dry-run", "--out", str(path)]) == 0
    report = json.loads(path.read_text())
    assert report["finished"]
    assert report["about"]["rehearsal"]
    assert {"commit", "torch", "triton", "torchvision", "vinr_engine"} <= report["about"].keys()
    assert set(report["peaks"]["matrix"]) == set(gpu_clock.DTYPES)
    checked = {row["case"].rsplit(" ", 1)[0].split(" 7x6")[0] for row in report["checks"]}
    assert checked == set(TOLERANCES)
    assert {row["form"] for row in report["checks"]} >= {"eager", "compile"}
    for row in report["checks"] + report["times"]:
        assert row["status"] == OK, row
        assert row["error"] <= row["tolerance"]
    assert all(row["ms"] > 0 and row["matrix_percent"] > 0 and row["runs"] >= 1 for row in report["times"])
    forms = {row["form"] for row in report["frames_per_second"]}
    assert forms >= {"eager"} | ({"cpu"} if backends.extension().path else set())
    assert "please send it back" in capsys.readouterr().out


def test_without_a_gpu_it_says_what_to_do(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 3
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--dry-run" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["--dry-run", "--only", "nothing such"],
        ["--dry-run", "--unknown"],
        ["--dry-run", "--timeout", "0"],
        ["--device", "cpu"],
        ["--device", "nonsense"],
        ["--device", "cuda:9"],
    ],
)
def test_wrong_usage(arguments, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(SystemExit, match="2"):
        gpu.main(arguments)
    assert capsys.readouterr().err.splitlines()[-1].startswith("python -m benchmarks.gpu: error: ")


def test_a_gpu_by_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    names = {"cuda": "cuda:0", "cuda:0": "cuda:0", "cuda:1": "cuda:1"}
    assert {name: str(gpu.gpu_device(name, dry=False)) for name in names} == names


def test_a_wrong_result_gets_no_time(monkeypatch):
    case = Case("deform_conv2d", 6, 7)
    monkeypatch.setitem(TOLERANCES, case.op, dict.fromkeys(gpu_clock.DTYPES, 0.0))
    assert {row.status for row in worker().check(case, "float32")} == {WRONG}
    rows = {row.form: row for row in worker().time(case, "float32")}
    assert rows["eager"].ms  # with which the others are compared
    if backends.extension().path:
        assert rows["cpu"].status == WRONG
        assert rows["cpu"].ms is None


def test_a_step_that_fails_costs_no_time_of_the_forward_pass(tmp_path):
    saved = report(tmp_path, ["deform_conv2d", "deform_conv2d step"], **{"check deform_conv2d step eager": "no step"})
    assert found(saved["checks"], "deform_conv2d step") == {"eager": (FAILED, "no step"), "cpu": (OK, "")}
    assert found(saved["times"], "deform_conv2d") == dict.fromkeys(("eager", "compile", "cpu"), (OK, ""))
    assert found(saved["times"], "deform_conv2d step") == {
        "eager": (WRONG, "did not pass the check at a small size"),
        "cpu": (OK, ""),
    }


def test_what_kills_a_process_is_recorded_and_the_rest_goes_on(tmp_path):
    illegal = "AcceleratorError: CUDA error: an illegal memory access was encountered"
    saved = report(
        tmp_path,
        ["deform_conv2d", "sampled_mlp", "query"],
        **{
            "check deform_conv2d eager": "end",
            "check deform_conv2d cpu": illegal,
            "check sampled_mlp reference": "garble",
            "check query compile": "hang",
            "time query eager": illegal,
        },
    )
    assert saved["finished"]
    assert saved["about"] == {"device": "stand-in"}
    assert found(saved["checks"], "deform_conv2d") == {
        "eager": (FAILED, "crashed: SIGKILL"),
        "compile": (OK, ""),
        "cpu": (FAILED, illegal),
    }
    died = (FAILED, "reference: crashed: exit code 7")
    assert found(saved["checks"], "sampled_mlp") == dict.fromkeys(("eager", "compile", "cpu"), died)
    assert found(saved["checks"], "query") == {
        "eager": (OK, ""),
        "compile": (FAILED, "timed out after 4 s"),
        "cpu": (OK, ""),
    }
    statuses = {form: status for form, (status, _) in found(saved["times"], "query").items()}
    assert statuses == {"eager": FAILED, "compile": WRONG, "cpu": OK}
    assert all(row["ms"] and row["matrix_percent"] for row in saved["times"] if row["status"] == OK)


def test_a_run_in_which_no_process_starts_ends_in_a_report(tmp_path):
    saved = report(tmp_path, ["query"], start="the GPU has fallen off the bus")
    assert not saved["finished"]
    assert saved["error"] == "no process starts: the GPU has fallen off the bus"


def test_a_run_whose_last_process_died_says_what_it_was_at(tmp_path):
    saved = report(tmp_path, ["encoder", "query"], **{"check query compile": "last"})
    assert not saved["finished"]
    assert saved["error"] == "no process starts: crashed: exit code 2"
    assert found(saved["checks"], "query") == {"compile": (FAILED, "crashed: exit code 1")}
    assert found(saved["checks"], "encoder") == dict.fromkeys(("eager", "cpu"), (OK, ""))


def test_without_peaks_there_are_times(tmp_path):
    saved = report(tmp_path, ["query"], peaks="OutOfMemoryError: out of memory")
    assert saved["peaks"] == {"error": "OutOfMemoryError: out of memory"}
    assert all(row["ms"] and row["matrix_percent"] is None for row in saved["times"])


def test_an_error_ends_the_worker_and_says_what_it_was_at(monkeypatch):
    def fail(*_):
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nand more lines")

    task = Builder.task

    def failing(self, case, form, precision, count):
        return gpu_clock.Rotating(fail, [()]) if form == "compile" else task(self, case, form, precision, count)

    monkeypatch.setattr(Builder, "task", failing)
    fields = {"op": "deform_conv2d", "h": 6, "w": 7}
    for kind in ("check", "time"):
        answers = io.StringIO()
        request = {"kind": kind, "case": fields, "precision": "float32", "without": []}
        good = json.dumps(request | {"without": ["compile"]})
        assert gpu_worker.serve(CPU, DRY, [good, json.dumps(request), good], answers) == 1
        greeting, *said = map(json.loads, answers.getvalue().splitlines())
        assert greeting["answer"]["rehearsal"]
        (rows,) = (line["answer"] for line in said if "answer" in line)
        assert {row["status"] for row in rows} == {OK}
        assert said[-2:] == [
            {"at": "compile"},
            {"error": "AcceleratorError: CUDA error: an illegal memory access was encountered"},
        ]


def test_what_does_not_fit_is_left_out(monkeypatch):
    one = worker()
    monkeypatch.setattr(one.clock, "free_bytes", lambda: 10_000)
    row, done = one.tried(Case("query", 6, 7), "eager", "float32")
    assert (row.status, done) == (SKIPPED, None)
    assert "GB are free" in row.note


def test_a_backend_that_cannot_run_says_why():
    row, done = worker().tried(Case("query", 6, 7), "cuda", "float32")
    assert (row.status, done) == (UNAVAILABLE, None)
    assert row.note


def test_forms():
    case = Case("query", 6, 7)
    assert set(gpu_cases.forms(case, "float32", torch.device("cuda"))) == {"eager", "compile", "triton", "cuda"}
    assert set(gpu_cases.forms(case, "float16", torch.device("cuda"))) == {"triton", "cuda"}
    assert "cuda" not in set(gpu_cases.forms(Case("query step", 6, 7), "float32", torch.device("cuda")))
    assert set(gpu_cases.forms(case, "float32", CPU)) == {"eager", "compile", "cpu"}


def test_training_in_float16_can_pass_at_the_size_that_is_checked():
    """What enters a float16 op's backward pass must be a normal number, and a bias's gradient at most its largest."""
    (case,) = (c for c in plan(dry=False, quick=True).checks if c.op == "deform_conv2d step")
    builder, form, precision = Builder(CPU, 0), "eager", "float16"
    row = Row(case.name, form, precision, tolerance=TOLERANCES[case.op][precision])
    worker().judged(row, builder.task(case, form, precision, 1)(), builder.oracle(case, precision))
    assert row.status == OK, row


@pytest.mark.parametrize("op", gpu_cases.LOSS_SCALES)
def test_gradients_of_a_loss_suit_float16_at_every_size(op):
    for n in (100, 100_000):
        out = torch.randn(1, 64, n).half().requires_grad_()
        (gradient,) = torch.autograd.grad(gpu_cases.loss(op, out), out)
        assert gradient.abs().median() > 100 * torch.finfo(torch.float16).tiny
        assert gradient.isfinite().all()


def test_no_sampled_position_is_where_a_gradient_jumps():
    for precision in gpu_clock.DTYPES:
        offset = gpu_cases.arguments(Case("deform_conv2d step", 9, 70), precision, CPU, 0)[1]
        assert (offset.double() - offset.double().round()).abs().min() >= gpu_cases.APART


def test_a_gpu_is_kept_busy_before_the_clock_starts(monkeypatch):
    """While it clears its cache and waits, the host launches what is timed."""
    said = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            said.append("event")

        def synchronize(self):
            said.append("wait")

        def elapsed_time(self, end):
            return 2.0

    class Flush:
        def zero_(self):
            said.append("flush")

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "_sleep", lambda cycles: said.append("sleep" if cycles > 1e7 else "nap"))
    clock = gpu_clock.Clock(CPU)
    clock._flush = Flush()
    assert clock(lambda: said.append("task")) == 2e-3
    assert said == ["flush", "sleep", "event", "task", "event", "wait"]


def test_a_query_that_is_timed_copies_nothing_from_the_host():
    """Its times lie on the device, and are those of the reference."""
    builder, case = Builder(torch.device("meta"), 0), Case("query", 6, 7, frames=3)
    task, _ = builder._op(case, torch.float32)
    seen = []
    builder.network.query = lambda features, frames, times, size: seen.append(times) or torch.empty(0)
    task(torch.empty(0), torch.empty(0))
    assert (seen[0].device.type, seen[0].shape) == ("meta", (3,))


def test_inputs_rotate():
    rotating = gpu_clock.Rotating(lambda x: x, [(1,), (2,), (3,)])
    assert [rotating() for _ in range(4)] == [1, 2, 3, 1]
    first, second = (gpu_cases.arguments(Case("encoder", 6, 7), "float32", CPU, seed)[0] for seed in (0, 10))
    assert not torch.equal(first, second)


def test_frame_rates_count_one_encoding_for_eight_frames(tmp_path):
    run = session(tmp_path)
    run.report.times = [
        Row("encoder 10x6", "triton", "float16", ms=20.0),
        Row("query 10x6 x2", "triton", "float16", ms=10.0),
    ]
    (rate,) = run.frame_rates()
    assert rate["frames_per_second"] == pytest.approx(80.0)
    row = Row("deform_conv2d 10x6", "triton", "float32", ms=1000.0)
    run.report.peaks = {"matrix": {"float32": 1e9}, "copy": 1e9}
    run.complete(row, Case("deform_conv2d", 10, 100))
    assert row.matrix_percent == pytest.approx(100 * 2 * 1000 * 64 * 64 * 9 / 1e9)


def test_the_largest_plan_is_consistent():
    largest = plan(dry=False, quick=False)
    for case in (*largest.checks, *largest.times):
        assert set(case.precisions) <= set(TOLERANCES[case.op])
        assert case.work.operations > 0 < case.bytes("triton") <= case.bytes("eager")
    names = {case.name for case in largest.times}
    assert {"query 320x180 x4", "encoder 320x180", "query 960x540 x4", "encoder 960x540"} <= names


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced(tmp_path):
    """The real one: after a segmentation fault in one form, another process goes on."""
    code = """
import os, signal, sys
from benchmarks import gpu_clock, gpu_worker
task = gpu_worker.Builder.task
def die(*given):
    os.kill(os.getpid(), signal.SIGSEGV)
def fatal(self, case, form, *rest):
    return gpu_clock.Rotating(die, [()]) if form == "compile" else task(self, case, form, *rest)
gpu_worker.Builder.task = fatal
sys.exit(gpu_worker.main())
"""
    path, cases = tmp_path / "gpu.json", (Case("deform_conv2d", 6, 7, ("float32",)),)
    command = [sys.executable, "-c", code, "cpu"]
    Session(CPU, replace(DRY, checks=cases, times=cases), path, Plain(io.StringIO()), (), command).run()
    saved = json.loads(path.read_text())
    assert saved["finished"]
    assert found(saved["checks"], "deform_conv2d")["compile"] == (FAILED, "crashed: SIGSEGV")
    assert {row["status"] for row in saved["times"] if row["form"] != "compile"} == {OK}
    assert {row["form"] for row in saved["times"] if row["ms"]} >= {"eager"}
