"""`benchmarks.gpu`, rehearsed on the CPU: all of its logic, none of its times."""

import json
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from benchmarks import gpu, gpu_cases, gpu_clock, gpu_session
from benchmarks.gpu_cases import TOLERANCES, Builder, Case
from benchmarks.gpu_session import FAILED, OK, SKIPPED, UNAVAILABLE, WRONG, Row, Session
from benchmarks.measure import Runs
from vinr_engine import backends

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def no_interpreter(monkeypatch):
    """It takes a minute where the cpu backend and the reference take a second."""
    monkeypatch.setattr(backends.triton_runtime, "INTERPRETED", False)


def session(tmp_path, *only, **changes):
    plan = replace(gpu.plan(dry=True, quick=True), **changes)
    return Session(CPU, plan, tmp_path / "gpu.json", Console(quiet=True), only)


def statuses(rows):
    return {(row.case.split()[0], row.form): row.status for row in rows}


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


@pytest.mark.parametrize("arguments", [["--only", "nothing such"], ["--unknown"]])
def test_wrong_usage(arguments):
    with pytest.raises(SystemExit, match="2"):
        gpu.main(["--dry-run", *arguments])


def test_a_wrong_result_gets_no_time(tmp_path, monkeypatch):
    monkeypatch.setitem(TOLERANCES, "deform_conv2d", dict.fromkeys(gpu_clock.DTYPES, 0.0))
    run = session(tmp_path, "deform_conv2d 7x6", "deform_conv2d 10x6")
    run.run()
    assert set(statuses(run.report.checks).values()) == {WRONG}
    assert set(statuses(run.report.times).values()) == {WRONG}
    assert all(row.ms is None and row.note for row in run.report.times)
    assert run.bad


def test_one_failure_is_recorded_and_the_rest_goes_on(tmp_path, monkeypatch):
    def fail(*_):
        raise torch.OutOfMemoryError("out of memory\nand more lines")

    task = Builder.task

    def failing(self, case, form, precision, count):
        return gpu_clock.Rotating(fail, [()]) if form == "compile" else task(self, case, form, precision, count)

    monkeypatch.setattr(Builder, "task", failing)
    monkeypatch.setattr(gpu_session, "measure_peaks", fail)
    run = session(tmp_path, "deform_conv2d 7x6", "deform_conv2d 10x6")
    run.run()
    saved = json.loads((tmp_path / "gpu.json").read_text())
    assert saved["finished"]
    assert saved["peaks"] == {"error": "OutOfMemoryError: out of memory"}
    failed = [row for row in saved["checks"] if row["status"] == FAILED]
    assert {row["form"] for row in failed} == {"compile"}
    assert {row["note"] for row in failed} == {"OutOfMemoryError: out of memory"}
    assert [row["status"] for row in saved["times"] if row["form"] == "eager"] == [OK]
    assert all(row["ms"] and row["matrix_percent"] is None for row in saved["times"] if row["status"] == OK)


def test_a_gpu_that_no_longer_answers_ends_in_a_report(tmp_path, monkeypatch):
    def lost(*_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(Session, "tidy", lost)
    run = session(tmp_path, "deform_conv2d 10x6")
    run.run()
    rows = json.loads((tmp_path / "gpu.json").read_text())["times"]
    assert [(row["form"], row["status"]) for row in rows] == [("all", FAILED)]
    assert "illegal memory access" in rows[0]["note"]


def test_a_failing_reference_fails_its_case(tmp_path, monkeypatch):
    monkeypatch.setattr(Builder, "oracle", lambda *_: 1 / 0)
    rows = session(tmp_path).check(Case("deform_conv2d", 6, 7), "float32")
    assert {(row.status, row.note) for row in rows} == {(FAILED, "reference: ZeroDivisionError: division by zero")}


def test_what_does_not_fit_is_left_out(tmp_path, monkeypatch):
    run = session(tmp_path)
    monkeypatch.setattr(run.clock, "free_bytes", lambda: 10_000)
    row, done = run.tried(Case("query", 6, 7), "eager", "float32")
    assert (row.status, done) == (SKIPPED, None)
    assert "GB are free" in row.note


def test_a_backend_that_cannot_run_says_why(tmp_path, monkeypatch):
    run = session(tmp_path)
    row, done = run.tried(Case("query", 6, 7), "cuda", "float32")
    assert (row.status, done) == (UNAVAILABLE, None)
    assert row.note


def test_forms():
    case = Case("query", 6, 7)
    assert set(gpu_cases.forms(case, "float32", torch.device("cuda"))) == {"eager", "compile", "triton", "cuda"}
    assert set(gpu_cases.forms(case, "float16", torch.device("cuda"))) == {"triton", "cuda"}
    assert "cuda" not in set(gpu_cases.forms(Case("query step", 6, 7), "float32", torch.device("cuda")))
    assert set(gpu_cases.forms(case, "float32", CPU)) == {"eager", "compile", "cpu"}


def test_training_in_float16_can_pass_at_the_size_that_is_checked(tmp_path):
    """What enters a float16 op's backward pass must be a normal number, and a bias's gradient at most its largest."""
    (case,) = (c for c in gpu.plan(dry=False, quick=True).checks if c.op == "deform_conv2d step")
    builder, form, precision = Builder(CPU, 0), "eager", "float16"
    row = Row(case.name, form, precision, tolerance=TOLERANCES[case.op][precision])
    session(tmp_path).judged(row, builder.task(case, form, precision, 1)(), builder.oracle(case, precision))
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
    row = Row("deform_conv2d 10x6", "triton", "float32")
    run.peaks = gpu_clock.Peaks({"float32": 1e9}, 1e9)
    run.complete(row, Case("deform_conv2d", 10, 100), Runs((1.0,)))
    assert row.matrix_percent == pytest.approx(100 * 2 * 1000 * 64 * 64 * 9 / 1e9)


def test_the_largest_plan_is_consistent():
    plan = gpu.plan(dry=False, quick=False)
    for case in (*plan.checks, *plan.times):
        assert set(case.precisions) <= set(TOLERANCES[case.op])
        assert case.work.operations > 0 < case.bytes("triton") <= case.bytes("eager")
    names = {case.name for case in plan.times}
    assert {"query 320x180 x4", "encoder 320x180", "query 960x540 x4", "encoder 960x540"} <= names
