"""A call of `benchmarks.gpu`, with a stand-in for the process that computes: crashes, hangs, deadlines, resumption."""

import io
import json
import sys
from dataclasses import replace

import pytest
import torch

from benchmarks.common import published
from benchmarks.common.screen import Plain
from benchmarks.gpu import budget
from benchmarks.gpu.cases import Case
from benchmarks.gpu.plan import plan
from benchmarks.gpu.report import show
from benchmarks.gpu.session import Session
from benchmarks.gpu.stored import Stored
from benchmarks.gpu.worker import FAILED, OK, WRONG, Row
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
say(answer={"device": "stand-in", "commit": fates.get("commit", "0123")})
for line in sys.stdin:
    asked = json.loads(line)
    if asked["kind"] == "peaks":
        at("peaks")
        say(answer={"matrix": {"float32": 1e12, "float16": 1e12}, "copy": 1e12})
        continue
    op, rows = asked["case"]["op"], []
    timed = asked["kind"] == "time"
    for form in ("reference", "eager", "cpu", "compile"):
        if form in asked["without"] or form == "compile" and not (
            timed and op in ("deform_conv2d", "sampled_mlp", "query")
        ):
            continue
        at(asked["kind"] + " " + op + " " + form, form)
        if form != "reference":
            name = op + " 7x6" + (" x4" if op == "query" else "")
            rows.append({"case": name, "form": form, "precision": asked["precision"], "ms": 1.0 if timed else None})
            if not timed:
                say(row=rows[-1])
    say(answer=rows)
"""


@pytest.fixture(autouse=True)
def forms(monkeypatch):
    """Those that the stand-in has, whatever is installed."""
    monkeypatch.setattr(backends.triton_runtime, "INTERPRETED", False)
    monkeypatch.setattr(published, "DEFORM_SOURCE", "reference")


def session(tmp_path, cases=(), fates=None, **options):
    """Of stand-ins, each of which meets its fate where it is told to."""
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    command = [sys.executable, str(script), json.dumps(fates or {})]
    chosen = replace(DRY, checks=cases, times=cases)
    only = options.pop("only", ())
    return Session(CPU, chosen, tmp_path / "gpu.json", Plain(io.StringIO()), only, command, 4.0, **options)


def report(tmp_path, ops, **fates):
    """What the file holds after a run; fates: as of STAND_IN, with underlines for spaces."""
    run = session(tmp_path, tuple(Case(op, 6, 7, ("float32",)) for op in ops), fates)
    run.run()
    return json.loads(run.path.read_text())


def found(rows, op):
    """Status and note of every form."""
    return {row["form"]: (row["status"], row["note"]) for row in rows if row["op"] == op}


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
            "check query cpu": "hang",
            "time query eager": illegal,
            "time query compile": "hang",
        },
    )
    assert saved["finished"]
    assert saved["about"]["device"] == "stand-in"
    assert found(saved["checks"], "deform_conv2d") == {
        "eager": (FAILED, "crashed: SIGKILL"),
        "cpu": (FAILED, illegal),
    }
    died = (FAILED, "reference: crashed: exit code 7")
    assert found(saved["checks"], "sampled_mlp") == dict.fromkeys(("eager", "cpu"), died)
    assert found(saved["checks"], "query") == {"eager": (OK, ""), "cpu": (FAILED, "timed out after 4 s")}
    statuses = found(saved["times"], "query")
    assert statuses["compile"] == (FAILED, "timed out after 6 s")  # which may take longer
    assert {form: status for form, (status, _) in statuses.items()} == {
        "eager": FAILED, "compile": FAILED, "cpu": WRONG
    }  # fmt: skip
    assert all(row["ms"] and row["matrix_percent"] for row in saved["times"] if row["status"] == OK)


def test_what_a_check_found_before_a_crash_is_kept(tmp_path):
    """The form that was right before is not run again in the new process, where it would fail."""
    path = tmp_path / "asked"
    script = STAND_IN.replace(
        'op, rows = asked["case"]["op"], []',
        f"""op, rows = asked["case"]["op"], []
    print(asked["kind"], asked["without"], file=open({str(path)!r}, "a"))""",
    )
    run = session(tmp_path, (Case("query", 6, 7, ("float32",)),), {"check query cpu": "end"}, parts=("checks",))
    (tmp_path / "stand_in.py").write_text(script)
    run.run()
    assert path.read_text() == "check []\n"
    assert [(row.form, row.status) for row in run.report.checks] == [("eager", OK), ("cpu", FAILED)]


def three(tmp_path, fates=None, **options):
    cases = tuple(Case(op, 6, 7, ("float32",)) for op in ("query", "encoder", "sampled_mlp"))
    run = session(tmp_path, cases, fates, **options)
    run.run()
    return run


def test_a_call_ends_by_its_deadline_and_the_next_goes_on(tmp_path):
    first = three(tmp_path, {"check encoder cpu": "hang"}, deadline=3.0)
    assert first.out_of_time
    saved = json.loads(first.path.read_text())
    assert not saved["finished"]
    assert [one["case"] for one in saved["done"]] == ["query 7x6 x4"]
    assert saved["left"] == 5
    assert {row["op"] for row in saved["checks"]} == {"query"}  # what was cut is no failure
    # What is done is not done again: there it would fail.
    second = three(tmp_path, {"check query eager": "again", "check encoder eager": "an error"}, resume=True)
    assert not second.out_of_time
    saved = json.loads(second.path.read_text())
    assert saved["finished"]
    assert saved["left"] == 0
    assert len(saved["calls"]) == 2
    assert found(saved["checks"], "query") == dict.fromkeys(("eager", "cpu"), (OK, ""))
    assert found(saved["checks"], "encoder") == {"eager": (FAILED, "an error"), "cpu": (OK, "")}
    assert found(saved["times"], "encoder")["eager"][0] == WRONG
    third = three(tmp_path, {"peaks": "no", "time encoder cpu": "again"}, resume=True)  # finds nothing to do
    assert json.loads(third.path.read_text())["done"] == saved["done"]
    assert third.bad == [row for row in third.report.checks + third.report.times if row.form == "eager" and row.note]


def test_a_bad_check_of_an_earlier_call_costs_the_time_of_a_later_one(tmp_path):
    three(tmp_path, {"check query cpu": "an error"}, parts=("checks",))
    saved = json.loads(three(tmp_path, parts=("times",), resume=True).path.read_text())
    assert found(saved["checks"], "query")["cpu"] == (FAILED, "an error")
    assert {form: status for form, (status, _) in found(saved["times"], "query").items()} == {
        "eager": OK, "compile": OK, "cpu": WRONG
    }  # fmt: skip


def test_what_takes_more_than_a_whole_call_is_not_tried_forever(tmp_path):
    first = three(tmp_path, {"check query cpu": "hang"}, deadline=2.0)
    assert first.out_of_time
    assert [one.case for one in first.report.done] == ["query 7x6 x4"]
    assert found([vars(row) for row in first.report.checks], "query")["cpu"][0] == FAILED
    saved = json.loads(three(tmp_path, resume=True).path.read_text())
    assert saved["finished"]
    assert found(saved["checks"], "encoder") == dict.fromkeys(("eager", "cpu"), (OK, ""))


def test_no_case_starts_that_does_not_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "seconds", lambda *_: 1000.0)
    run = three(tmp_path, deadline=100.0)
    assert run.out_of_time
    assert [one.case for one in run.report.done] == ["query 7x6 x4"]  # the first always does


@pytest.mark.parametrize("change", ["commit", "plan", "garbage"])
def test_another_commit_or_plan_is_not_gone_on_with(tmp_path, change):
    path = three(tmp_path, {"commit": "4567"} if change == "commit" else {}).path
    before = path.read_text()
    if change == "garbage":
        path.write_text(before := "[]")
    if change == "plan":
        path.write_text(before := before.replace(json.loads(before)["plan"], "another"))
    run = three(tmp_path, resume=True)
    assert path.with_name("gpu.json.before").read_text() == before
    assert len(json.loads(path.read_text())["calls"]) == 1
    assert "is not gone on with but renamed to gpu.json.before" in run.screen.file.getvalue()


@pytest.mark.parametrize(("fate", "deadline"), [("off the bus", 60.0), ("hang", 0.5)])
def test_a_call_that_comes_to_nothing_leaves_the_file(tmp_path, fate, deadline):
    before = three(tmp_path).path.read_text()
    run = three(tmp_path, {"start": fate}, resume=True, deadline=deadline)
    assert run.path.read_text() == before
    assert run.out_of_time == (fate == "hang")


def test_what_is_timed_alone_is_checked_first(tmp_path):
    run = three(tmp_path, {"check sampled_mlp cpu": "an error"}, parts=("times",), only=("sampled_mlp",))
    assert {row.op for row in (*run.report.checks, *run.report.times)} == {"sampled_mlp"}
    assert [one.kind for one in run.report.done] == ["check", "time"]
    assert {row.form: row.status for row in run.report.times} == {"eager": OK, "cpu": WRONG, "compile": OK}


def test_a_run_in_which_no_process_starts_ends_in_a_report(tmp_path):
    saved = report(tmp_path, ["query"], start="the GPU has fallen off the bus")
    assert not saved["finished"]
    assert saved["error"] == "no process starts: the GPU has fallen off the bus"


def test_a_run_whose_last_process_died_says_what_it_was_at(tmp_path):
    saved = report(tmp_path, ["encoder", "query"], **{"check query eager": "last"})
    assert not saved["finished"]
    assert saved["error"] == "no process starts: crashed: exit code 2"
    assert {(row["case"], row["form"], row["note"]) for row in saved["checks"] if row["status"] != OK} == {
        ("query 7x6 x4", "eager", "crashed: exit code 1")
    }
    assert found(saved["checks"], "encoder") == dict.fromkeys(("eager", "cpu"), (OK, ""))


def test_without_peaks_there_are_times(tmp_path):
    saved = report(tmp_path, ["query"], peaks="OutOfMemoryError: out of memory")
    assert saved["peaks"] == {"error": "OutOfMemoryError: out of memory"}
    assert all(row["ms"] and row["matrix_percent"] is None for row in saved["times"])


def test_rows_are_completed(tmp_path):
    run, case = session(tmp_path), Case("network", 6, 10, scale=2, frames=8)
    row = Row(case.name, "auto", "default", ms=100.0)
    run.report.peaks = {"matrix": {"float32": 1e9, "tf32": 1e12}, "copy": 1e12}
    run.complete(row, case)
    run.report.times = [row]
    assert row.matrix_percent == pytest.approx(100 * case.work().operations / 0.1 / 1e12)  # convolutions
    (rate,) = run.frame_rates()
    assert rate["frames_per_second"] == pytest.approx(80.0)
    assert (rate["output"], rate["frames"]) == ("20x12", 8)
    row = Row("deform_conv2d 10x6", "triton", "float32", ms=1000.0)
    run.report.peaks = {"matrix": {"float32": 1e9}, "copy": 1e9}
    run._stored = Stored(90)
    run.complete(row, Case("deform_conv2d", 10, 100))
    assert row.matrix_percent == pytest.approx(100 * 2 * 1000 * 64 * 64 * 9 / 1e9)
    assert row.roofline_ms == pytest.approx(1e3 * 3 * 2 * 1000 * 64 * 64 * 9 / 494.7e12, rel=0.2)
    show(run.screen, "title", [row])
    assert "> " in run.screen.file.getvalue()


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced(tmp_path):
    """The real one: after a segmentation fault in one form, another process goes on."""
    code = """
import os, signal, sys
from benchmarks.gpu import clock, worker
task = worker.Builder.task
def die(*given):
    os.kill(os.getpid(), signal.SIGSEGV)
def fatal(self, case, form, *rest):
    return clock.Rotating(die, [()]) if form == "compile" else task(self, case, form, *rest)
worker.Builder.task = fatal
sys.exit(worker.main())
"""
    path, cases = tmp_path / "gpu.json", (Case("deform_conv2d", 6, 7, ("float32",)),)
    command = [sys.executable, "-c", code, "cpu"]
    Session(CPU, replace(DRY, checks=cases, times=cases), path, Plain(io.StringIO()), (), command).run()
    saved = json.loads(path.read_text())
    assert saved["finished"]
    assert found(saved["times"], "deform_conv2d")["compile"] == (FAILED, "crashed: SIGSEGV")
    assert {row["status"] for row in saved["times"] if row["form"] != "compile"} == {OK}
    assert {row["form"] for row in saved["times"] if row["ms"]} >= {"eager"}
