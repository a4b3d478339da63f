"""`benchmarks.gpu`, rehearsed on the CPU: all of its logic, none of its times."""

import io
import json
from dataclasses import replace

import pytest
import torch

from benchmarks.common import published
from benchmarks.gpu import budget, cases, clock, run, tasks
from benchmarks.gpu.cases import Case
from benchmarks.gpu.plan import plan
from benchmarks.gpu.stored import Stored
from benchmarks.gpu.tasks import Builder
from benchmarks.gpu.worker import OK, SKIPPED, UNAVAILABLE, WRONG, Row, Worker, serve
from benchmarks.tolerances import GPU_CASE
from vinr_engine import backends
from vinr_engine.ops.op import OPS

CPU, DEFORM_SOURCE = torch.device("cpu"), published.DEFORM_SOURCE
DRY = plan(dry=True, quick=True)


@pytest.fixture(autouse=True)
def no_interpreter(monkeypatch):
    """It takes a minute where the cpu backend and the reference take a second."""
    monkeypatch.setattr(backends.triton_runtime, "INTERPRETED", False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(published, "DEFORM_SOURCE", "reference")  # there may or may not be a torchvision


def worker(begin=lambda form: None):
    return Worker(CPU, DRY, begin)


def test_rehearsal(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(published, "DEFORM_SOURCE", DEFORM_SOURCE)  # the process that computes has the real one
    path = tmp_path / "out" / "gpu.json"
    assert run.main(["--dry-run", "--out", str(path)]) == 0
    report = json.loads(path.read_text())
    assert report["finished"]
    assert report["left"] == 0
    assert report["about"]["rehearsal"]
    assert {"commit", "torch", "triton", "torchvision", "vinr_engine"} <= report["about"].keys()
    assert set(report["peaks"]["matrix"]) == set(clock.DTYPES) - set(clock.PEAK)
    assert {row["op"] for row in report["checks"]} == {row["op"] for row in report["times"]} == set(GPU_CASE)
    assert {row["form"] for row in report["times"]} >= {"eager", "compile", "auto", "graphs", "compiled"}
    fine = {OK} if backends.extension().path else {OK, UNAVAILABLE}
    for row in report["checks"] + report["times"]:
        assert row["status"] in fine, row
        assert row["status"] != OK or row["error"] <= row["tolerance"]
    for row in report["times"]:
        if row["status"] == OK:
            assert row["ms"] > 0 < row["matrix_percent"]
            assert row["runs"] >= 1
    assert {(row["form"], row["frames"]) for row in report["frames_per_second"]} >= {("eager", 1)}
    assert all(row["output"] == "20x12" for row in report["frames_per_second"])
    assert len(report["done"]) == sum(len(case.precisions) for case in (*DRY.checks, *DRY.times))
    assert "please send it back" in capsys.readouterr().out


def test_without_a_gpu_it_says_what_to_do(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run.main([]) == 3
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--dry-run" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["--dry-run", "--only", "nothing such"],
        ["--dry-run", "--unknown"],
        ["--dry-run", "--timeout", "0"],
        ["--dry-run", "--deadline", "0"],
        ["--dry-run", "--part", "all"],
        ["--device", "cpu"],
        ["--device", "nonsense"],
        ["--device", "cuda:9"],
    ],
)
def test_wrong_usage(arguments, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(SystemExit, match="2"):
        run.main(arguments)
    assert capsys.readouterr().err.splitlines()[-1].startswith("python -m benchmarks.gpu: error: ")


def test_a_gpu_by_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    names = {"cuda": "cuda:0", "cuda:0": "cuda:0", "cuda:1": "cuda:1"}
    assert {name: str(run.gpu_device(name, dry=False)) for name in names} == names


def test_a_wrong_result_gets_no_time(monkeypatch):
    case = Case("deform_conv2d", 6, 7)
    monkeypatch.setitem(GPU_CASE, case.op, dict.fromkeys(clock.DTYPES, 0.0))
    assert WRONG in {row.status for row in worker().check(case, "float32")} <= {WRONG, UNAVAILABLE}
    rows = {row.form: row for row in worker().time(case, "float32")}
    assert rows["eager"].ms  # with which the others are compared
    if backends.extension().path:
        assert rows["cpu"].status == WRONG
        assert rows["cpu"].ms is None


def test_the_exit_code_of_a_call_that_ran_out_of_time(tmp_path, capsys):
    path = tmp_path / "gpu.json"
    assert run.main(["--dry-run", "--deadline", "0.2", "--part", "checks", "--out", str(path)]) == 4
    assert "--resume" in capsys.readouterr().out
    assert not json.loads(path.read_text())["finished"]


def test_an_error_ends_the_worker_and_says_what_it_was_at(monkeypatch):
    def fail(*_):
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nand more lines")

    task = Builder.task

    def failing(self, case, form, precision, count):
        return clock.Rotating(fail, [()]) if form == "eager" else task(self, case, form, precision, count)

    monkeypatch.setattr(Builder, "task", failing)
    fields = {"op": "deform_conv2d", "h": 6, "w": 7}
    for kind in ("check", "time"):
        answers = io.StringIO()
        request = {"kind": kind, "case": fields, "precision": "float32", "without": []}
        good = json.dumps(request | {"without": ["eager"]})
        assert serve(CPU, DRY, [good, json.dumps(request), good], answers) == 1
        greeting, *said = map(json.loads, answers.getvalue().splitlines())
        assert greeting["answer"]["rehearsal"]
        (rows,) = (line["answer"] for line in said if "answer" in line)
        assert {row["status"] for row in rows} <= {OK, UNAVAILABLE}  # the latter without the extension
        fatal = [line for line in said if "row" not in line]
        assert fatal[-2:] == [
            {"at": "eager"},
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
    assert set(cases.forms(case, "float32", torch.device("cuda"))) == {"eager", "compile", "triton", "cuda"}
    assert set(cases.forms(case, "float16", torch.device("cuda"))) == {"triton", "cuda"}
    assert "cuda" not in set(cases.forms(Case("query step", 6, 7), "float32", torch.device("cuda")))
    assert list(cases.forms(case, "float32", CPU)) == ["eager", "cpu", "compile"]
    assert list(cases.forms(case, "float32", CPU, "check")) == ["eager", "cpu"]
    assert list(cases.forms(replace(case, without=("eager",)), "float32", CPU)) == ["cpu", "compile"]
    network, gpus = Case("network", 6, 7), torch.device("cuda")
    assert list(cases.forms(network, "default", gpus)) == ["eager", "auto", "graphs", "cuda", "compiled"]
    assert list(cases.forms(network, "float16", gpus)) == ["auto", "graphs", "cuda", "compiled"]


@pytest.mark.parametrize("precision", clock.DTYPES)
def test_the_switches_of_a_precision(precision):
    """A user of 16 bits leaves cuDNN's TF32 as it comes, as whoever asks for nothing."""
    expected = {"float32": (False, False), "tf32": (True, True)}.get(precision, (False, True))
    with Builder(CPU, 0)._context(Case("network", 6, 7), "reference", precision):
        assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == expected


@pytest.mark.parametrize("before", ["none", "ieee", "tf32"])
def test_the_switches_are_put_back(before):
    """Also where the newer of PyTorch's two ways set them, after which the older may not be asked."""
    switches = torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn
    came = [switch.fp32_precision for switch in switches]
    try:
        for switch in switches:
            switch.fp32_precision = before
        with clock.tf32(True, False):
            assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (True, False)
            with clock.tf32(False, True):
                assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (False, True)
            assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (True, False)
        assert [switch.fp32_precision for switch in switches] == [before] * 3
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = (p == "tf32" for p in came[:2])
        for switch, precision in zip(switches, came, strict=True):
            switch.fp32_precision = precision


def test_what_runs_on_something_else_is_not_timed(monkeypatch):
    """On a GPU a row's form did the work, or the row says so: whenever it is asked, though the log says it once."""
    one = worker()

    def elsewhere():
        OPS["sampled_mlp"].select((torch.zeros(1, dtype=torch.int32),))
        return torch.zeros(1)

    monkeypatch.setattr(one.clock, "free_bytes", lambda: None)
    monkeypatch.setattr(one.clock, "device", torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(Builder, "task", lambda *_: clock.Rotating(elsewhere, [()]))
    monkeypatch.setattr(cases, "unavailable", lambda *_: "")
    for _ in range(2):
        row, done = one.tried(Case("query", 6, 7), "auto", "float32")
        assert (row.status, done) == (UNAVAILABLE, None)
        assert "runs on the reference" in row.note


def test_what_torch_compile_makes_is_held_to_something():
    case = Case("sampled_mlp", 6, 7, scale=2)
    (row,) = worker().time(case, "float32", without=("eager", "cpu"))
    assert (row.form, row.status, row.ms) == ("compile", UNAVAILABLE, None)


def test_training_in_float16_can_pass_at_the_size_that_is_checked():
    """What enters a float16 op's backward pass must be a normal number, and a bias's gradient at most its largest."""
    (case,) = (c for c in plan(dry=False, quick=True).checks if c.op == "deform_conv2d step")
    builder, form, precision = Builder(CPU, 0), "eager", "float16"
    row = Row(case.name, form, precision, tolerance=GPU_CASE[case.op][precision])
    worker().judged(row, builder.task(case, form, precision, 1)(), builder.oracle(case, precision))
    assert row.status == OK, row


@pytest.mark.parametrize("op", cases.LOSS_SCALES)
def test_gradients_of_a_loss_suit_float16_at_every_size(op):
    for n in (100, 100_000):
        out = torch.randn(1, 64, n).half().requires_grad_()
        (gradient,) = torch.autograd.grad(tasks.loss(op, out), out)
        assert gradient.abs().median() > 100 * torch.finfo(torch.float16).tiny
        assert gradient.isfinite().all()


def test_no_sampled_position_is_where_a_gradient_jumps():
    for precision in clock.DTYPES:
        offset = tasks.arguments(Case("deform_conv2d step", 9, 70), precision, CPU, 0)[1]
        assert (offset.double() - offset.double().round()).abs().min() >= tasks.APART


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
    one = clock.Clock(CPU)
    one._flush = Flush()
    assert one(lambda: said.append("task")) == 2e-3
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
    rotating = clock.Rotating(lambda x: x, [(1,), (2,), (3,)])
    assert [rotating() for _ in range(4)] == [1, 2, 3, 1]
    first, second = (tasks.arguments(Case("encoder", 6, 7), "float32", CPU, seed)[0] for seed in (0, 10))
    assert not torch.equal(first, second)


def test_stored_estimates():
    stored, frame = Stored(90), Case("query", 180, 320)
    for form in ("triton", "cuda"):
        counted = stored.counted_ms(frame, form, "float16")
        assert counted > stored.roofline_ms(frame, form, "float16") > 0
        assert stored.counted_ms(replace(frame, frames=2), form, "float16") == pytest.approx(2 * counted)
        assert stored.counted_ms(frame, form, "float32") is None
        for precision in cases.PRECISIONS:
            assert stored.roofline_ms(Case("deform_conv2d", 180, 320), form, precision) > 0
    assert stored.roofline_ms(Case("sampled_mlp", 720, 1280), "triton", "tf32") > 0
    assert stored.roofline_ms(frame, "eager", "float32") is None
    assert stored.roofline_ms(Case("encoder", 180, 320), "triton", "float32") is None


@pytest.mark.parametrize("capability", [86, 90])
def test_without_a_card_or_a_report_nothing_is_estimated(tmp_path, capability):
    stored = Stored(capability, tmp_path)
    assert stored.roofline_ms(Case("query", 6, 7), "triton", "float16") is None
    assert stored.counted_ms(Case("query", 6, 7), "triton", "float16") is None


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("dry", [False, True])
def test_plans_are_consistent(dry, quick):
    chosen = plan(dry, quick)
    for case in (*chosen.checks, *chosen.times):
        assert set(case.precisions) <= set(GPU_CASE[case.op])
        assert case.work().operations > 0 < case.bytes("triton") <= case.bytes("eager")
        for precision in case.precisions:
            assert chosen.check_of(case, precision)
            assert list(cases.forms(case, precision, torch.device("cuda"), "check"))
    for planned in (chosen.checks, chosen.times):  # what is done is known by its name
        names = [(case.name, precision) for case in planned for precision in case.precisions]
        assert len(names) == len(set(names))
    assert {case.op for case in chosen.checks} == set(GPU_CASE)
    assert chosen.fingerprint == plan(dry, quick).fingerprint
    assert dry or plan(dry, not quick).fingerprint != chosen.fingerprint


def test_the_plan_of_a_gpu():
    largest = plan(dry=False, quick=False)
    assert [case.name.split()[0] for case in largest.checks[:3]] == ["query", "deform_conv2d", "sampled_mlp"]
    names = {case.name for case in largest.times}
    assert {"query 320x180 x4", "network 640x360 x4, 8 times", "query 256x256 x4", "deform_conv2d 317x179"} <= names
    gpus = torch.device("cuda")
    assert budget.total("check", largest.checks, gpus) <= 6 * 60
    assert budget.total("time", largest.times, gpus) <= 8 * 60


def test_a_rehearsal_is_expected_to_compile_nothing():
    for case in DRY.times:
        assert budget.seconds("time", case, case.precisions[0], CPU) < 10


def test_expected_times_follow_measured_ones():
    assert budget.scale([]) == 1.0
    assert budget.scale([(10.0, 12.0), (10.0, 18.0)]) == pytest.approx(1.5)
    assert budget.scale([(10.0, 0.0)]) == min(budget.SCALES)
    assert budget.scale([(1.0, 1e3)]) == max(budget.SCALES)
