"""The benchmarks' statistics, formulas, gate and reports. No time is asserted."""

import importlib.util
import math
from dataclasses import replace

import pytest
import torch

import vinr_engine as vinr
from benchmarks.cases import Case as Shared
from benchmarks.common import machine, markdown, measure, screen, text, work
from benchmarks.cpu import baselines, cases, page, results, run, targets
from benchmarks.cpu.results import Results, Row
from benchmarks.tolerances import CPU_CASE
from export_cases import SMALL, network
from vinr_engine.cli import bench
from vinr_engine.cli import main as cli


def row(case, backend, **values):
    shape = dict(op="query", rows=64, columns=112)
    where = dict(cpu="a CPU", threads=2, variant="portable", torch="2.13.0", version="0", commit="abc")
    return Row("2026-01-02T03:04:05Z", True, case, backend=backend, **(shape | where | values))


def full_run(**changes):
    """A run in which every target is reached, with some rows changed: (case, backend) -> values."""
    rows = []
    for case in cases.CASES:
        for backend in case.backends:
            seconds = {"eager": 10.0, "compile": 8.0, "float32": 0.5, "bf16": 0.3, "conv2d": 0.4}[backend]
            peak = 5000.0 if backend == "eager" else 300.0
            rows.append(
                row(case.name, backend, op=case.case.op, median_s=seconds, unit_s=2.7e-3, gflops=100.0, psnr_db=50.0,
                    matrix_percent=80.0, peak_mb=peak)
            )  # fmt: skip
    return Results([replace(r, **changes.get(f"{r.case}|{r.backend}", {})) for r in rows])


@pytest.mark.parametrize(
    ("seconds", "median", "quartiles"),
    [
        ((3.0,), 3.0, (3.0, 3.0)),
        ((3.0, 1.0), 2.0, (1.0, 3.0)),
        ((5.0, 1.0, 2.0, 3.0, 4.0), 3.0, (2.0, 4.0)),
        ((1.0, 1.0, 1.0, 99.0), 1.0, (1.0, 25.5)),
    ],
)
def test_median_and_quartiles(seconds, median, quartiles):
    runs = measure.Runs(seconds)
    assert (runs.median, runs.quartiles) == (median, quartiles)


def test_rounds_interleave_and_start_with_another_task_each():
    calls = []
    tasks = {name: lambda name=name: calls.append(name) for name in "abc"}
    runs = measure.interleaved(tasks, 3)
    assert "".join(calls) == "abc" + "bca" + "cab"
    assert [len(r.seconds) for r in runs.values()] == [3, 3, 3]


@pytest.mark.parametrize(("budget", "least", "rounds"), [(math.inf, 1, 5), (6.5, 1, 3), (0.1, 1, 1), (0.1, 2, 2)])
def test_rounds_end_with_the_budget(budget, least, rounds):
    runs = measure.interleaved({"a": None, "b": None}, 5, budget, least, clock=lambda task: 1.0)
    assert {len(r.seconds) for r in runs.values()} == {rounds}


def test_errors():
    a = torch.tensor([1.0, 2.0])
    assert measure.relative_error(a, a) == 0
    assert measure.relative_error([a, 2 * a], [a, a]) == 1
    assert measure.relative_error(a * math.nan, a) == math.inf
    assert measure.relative_error(a[:1], a) == math.inf
    assert measure.psnr(a, a) == math.inf
    assert measure.psnr(a + 0.1, a, 1.0) == pytest.approx(20, abs=1e-4)
    assert measure.psnr(a + 0.2, a) == pytest.approx(20, abs=1e-4)
    assert measure.psnr(a * math.nan, a) == -math.inf


def test_multiply_adds_of_a_query():
    assert work.query_macs() == 208_448
    assert work.hoisted_query_macs(frame_upsample=1) == 157_760
    assert work.hoisted_query_macs(frame_upsample=4) == 157_760 + 6 * 64 + 12 * 64


def test_the_formula_counts_the_networks_own_layers():
    with torch.device("meta"):
        network = vinr.VideoINR()
    layers = (network.feat_imnet, network.flow_imnet, network.encode_imnet)
    assert work.query_macs() == sum(weight.numel() for n in layers for weight, _ in n.layers())


def test_published_work():
    assert 2 * work.encoder_macs() / 1e6 == pytest.approx(52.3, abs=0.05)
    assert work.encoder(64, 112).operations / 1e9 == pytest.approx(375, abs=0.5)
    assert work.query(64, 112, 4, 1, hoisted=True).operations / 1e9 == pytest.approx(36.5, abs=1)
    forward, step = (work.deform_conv2d(64, 112, backward) for backward in (False, True))
    assert forward.operations == 2 * 64 * 112 * 64 * 64 * 9
    assert step.operations == 3 * forward.operations


@pytest.mark.parametrize(("seconds", "void"), [(2.0, False), (2.87, False), (2.88, True)])
def test_a_baseline_over_15_percent_slower_is_void(seconds, void):
    verdict = baselines.judge("query", "eager", 64 * 112, seconds, unit=2.7e-3)
    assert verdict.void == void
    assert ("VOID" in str(verdict)) == void


def test_published_figures_scale_with_the_unit_and_the_pixels():
    verdict = baselines.judge("encoder", "eager", 2 * 64 * 112, 1.0, unit=5.4e-3)
    assert verdict.expected == pytest.approx(4 * 5.7)
    assert baselines.judge("query", "float32", 64 * 112, 1.0, unit=2.7e-3) is None


def test_every_case_has_a_tolerance_and_names_backends():
    names = [case.name for case in cases.CASES]
    assert len(set(names)) == len(names)
    for case in cases.CASES:
        assert case.case.op in CPU_CASE
        assert set(case.backends) <= set(cases.BACKENDS)
        assert set(case.memory) <= set(case.backends)
    assert {case.name for case in cases.chosen(["query 64x112"])} == {"query 64x112 x4"}
    with pytest.raises(ValueError, match="no case is called nonsense"):
        cases.chosen(["nonsense"])


def test_targets_refer_to_rows_of_a_full_run():
    found = full_run()
    assert {t.verdict(found) for t in targets.TARGETS} == {targets.REACHED}
    assert {t.verdict(Results([])) for t in targets.TARGETS} == {targets.NOT_MEASURED}


def test_a_void_baseline_voids_the_targets_against_it():
    found = full_run(**{"query 64x112 x4|eager": {"status": results.VOID}})
    verdicts = {t.what: t.verdict(found) for t in targets.TARGETS}
    assert verdicts["query, float32, against eager"] == targets.VOIDED
    assert verdicts["query, float32, against torch.compile"] == targets.REACHED
    assert "**void**" in page.section(found)


def test_a_missed_target_is_called_so():
    found = full_run(**{"encoder 64x112|float32": {"median_s": 9.0}})
    verdicts = {t.what: t.verdict(found) for t in targets.TARGETS}
    assert verdicts["encoder, float32, against eager"] == targets.MISSED


def test_frames_per_second():
    found = Results([row("encoder 160x90", "float32", median_s=2.0), row("query 160x90 x4", "float32", median_s=0.5)])
    assert found.frames_per_second("160x90", "float32", 8) == pytest.approx(8 / 6)
    assert found.frames_per_second("160x90", "bf16", 8) is None


def test_rows_survive_the_csv_file(tmp_path):
    rows = [
        row("a, b", "eager", median_s=0.125, runs=3, note='says "no"'),
        replace(row("c", "bf16", status=results.UNAVAILABLE), complete=False),
    ]
    path = tmp_path / "folder" / "x.csv"
    results.append(path, rows[:1])
    results.append(path, rows[1:])
    assert results.read(path) == rows
    path.write_text("other,columns\n")
    with pytest.raises(ValueError, match="other columns"):
        results.append(path, rows)


def test_the_last_complete_run_counts():
    rows = [
        replace(row("a", "eager"), run=name, complete=done) for name, done in (("1", True), ("2", True), ("3", False))
    ]
    assert {r.run for r in Results.last(rows).rows} == {"2"}
    assert {r.run for r in Results.last(rows, complete=False).rows} == {"3"}
    assert Results.last([]).rows == []


def test_cases_newer_than_the_last_complete_run_count_too():
    rows = [
        row("a", "eager"),
        *(replace(row(case, "eager"), run=run, complete=False) for case, run in (("b", "2"), ("a", "3"), ("b", "3"))),
    ]
    found = Results.last(rows)
    assert [(r.case, r.run) for r in found.rows] == [("a", rows[0].run), ("b", "3")]
    assert "Measured later, on the same machine: b, at commit" in page.section(found)


def test_the_page_is_regenerated_idempotently(tmp_path):
    text = tmp_path / "README.md"
    text.write_text(f"before\n\n{page.BEGIN}\nold\n{page.END}\n\nafter\n")
    table = tmp_path / "x.csv"
    results.append(table, full_run().rows)
    arguments = ["--csv", str(table), "--page", str(text)]
    assert page.main([*arguments, "--check"]) == 1
    assert page.main(arguments) == 0
    first = text.read_text()
    assert page.main(arguments) == 0
    assert text.read_text() == first
    assert page.main([*arguments, "--check"]) == 0
    assert first.startswith("before\n")
    assert first.endswith("\nafter\n")
    assert "old" not in first
    assert "query 64x112 x4" in first


@pytest.mark.parametrize("text", ["", page.BEGIN, page.END + page.BEGIN, (page.BEGIN + page.END) * 2])
def test_a_page_without_its_markers_is_left_alone(text):
    with pytest.raises(ValueError, match="README must hold"):
        markdown.replaced(text, "new", (page.BEGIN, page.END))


def test_the_pages_section_is_what_the_stored_run_says():
    assert page.main(["--check"]) == 0


def a_case(**tasks):
    """A case of op `query` whose backends give these tensors."""
    build = {name: lambda value=value: value() if callable(value) else value for name, value in tasks.items()}
    return cases.Case("made up", Shared("query", 4, 4), lambda case: build, tuple(tasks))


@pytest.fixture
def quickly(monkeypatch, tmp_path):
    """Runs `benchmarks.cpu` on made-up cases: the exit code and the rows."""
    rates = measure.Rates({"float32": 1e9, "bf16": 2e9}, 1e9)
    monkeypatch.setattr(run, "machine_rates", lambda: rates)
    monkeypatch.setattr(run, "_draw", lambda *_: None)

    def go(*made):
        monkeypatch.setattr(cases, "CASES", made)
        threads = torch.get_num_threads()
        code = run.main(["--repeats", "2", "--out", str(tmp_path), "--threads", str(threads)])
        return code, {r.backend: r for r in results.read(tmp_path / "cpu.csv")}

    return go


def test_a_right_result_is_timed(quickly):
    code, rows = quickly(a_case(eager=torch.ones(3), float32=torch.ones(3) * 1.00001))
    assert code == 0
    assert rows["float32"].status == results.OK
    assert rows["float32"].runs == 2
    assert rows["float32"].error == pytest.approx(1e-5, rel=0.1)
    assert rows["float32"].matrix_percent > 0


@pytest.mark.parametrize("wrong", [torch.ones(3) * 1.1, torch.ones(3) * math.nan, torch.ones(2)])
def test_a_wrong_result_gets_no_time_and_fails_the_run(quickly, capsys, wrong):
    code, rows = quickly(a_case(eager=torch.ones(3), float32=wrong))
    assert code == 1
    assert rows["float32"].status == results.RED
    assert rows["float32"].median_s is None
    assert rows["eager"].median_s is not None
    assert "wrong result" in capsys.readouterr().out


def test_a_failing_backend_fails_the_run_and_a_missing_one_does_not(quickly):
    def fails():
        raise RuntimeError("broken\nin many lines")

    def missing():
        raise vinr.BackendError("no kernels here")

    code, rows = quickly(a_case(eager=torch.ones(3), float32=fails))
    assert (code, rows["float32"].status, rows["float32"].note) == (1, results.RED, "RuntimeError: broken")
    code, rows = quickly(replace(a_case(eager=torch.ones(3), float32=missing), name="another"))
    assert (code, rows["float32"].status, rows["float32"].note) == (0, results.UNAVAILABLE, "no kernels here")


def test_float32_never_stands_in_for_bf16(quickly, monkeypatch):
    monkeypatch.setitem(cases.LOW_PRECISION_OPS, "query", "aten::mul")
    case = a_case(eager=torch.ones(3), bf16=torch.ones(3))
    code, rows = quickly(case)
    assert (code, rows["bf16"].status, rows["bf16"].median_s) == (0, results.UNAVAILABLE, None)
    assert "float32" in rows["bf16"].note
    low = torch.ones(3, dtype=torch.bfloat16)
    code, rows = quickly(a_case(eager=torch.ones(3), bf16=lambda: low * 1))
    assert (code, rows["bf16"].status) == (0, results.OK)


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed")
def test_the_plot_is_drawn(tmp_path):
    from benchmarks.cpu import plot

    paths = plot.draw(full_run(), tmp_path / "x")
    assert [p.suffix for p in paths] == [".svg", ".png"]
    assert all(p.stat().st_size > 1000 for p in paths)
    assert plot.draw(Results([]), tmp_path / "y") == []


@pytest.mark.parametrize("name", [c.name for c in cases.CASES if "64x112" in c.name or c.case.op == "query step"])
def test_every_case_gives_the_same_on_every_backend_at_a_tiny_size(name):
    case = cases.by_name(name)
    with torch.set_grad_enabled(case.case.step):
        tasks = case.build(replace(case.case, h=12, w=20))
        checked = run.check(case, {b: tasks[b] for b in ("eager", "float32")})
    assert checked["eager"].status == results.OK
    assert checked["float32"].status in (results.OK, results.UNAVAILABLE), checked["float32"].note


@pytest.mark.parametrize(
    ("seconds", "shown"), [(None, ""), (2.5e-6, "2.50 us"), (0.0123, "12.3 ms"), (0.9996, "1000 ms"), (123.4, "123 s")]
)
def test_durations(seconds, shown):
    assert text.duration(seconds) == shown


def test_the_command_needs_a_checkout(monkeypatch, tmp_path, capfd):
    assert cli.main(["bench", "--list"]) == 0
    assert "query 64x112 x4" in capfd.readouterr().out
    monkeypatch.setattr(bench, "__file__", str(tmp_path / "vinr_engine" / "cli" / "bench.py"))
    for arguments in ([], ["--base", "HEAD"]):
        assert cli.main(["bench", *arguments]) == 2
        assert "needs a checkout" in capfd.readouterr().err


@pytest.mark.slow
def test_the_exported_query_beside_the_published_form(tmp_path, capsys, monkeypatch):
    pytest.importorskip("onnxruntime")
    from benchmarks.tools import onnx_query

    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    arguments = ["--size", "8x12", "--scale", "2", "--repeats", "1", "--out", str(tmp_path / "rows.csv")]
    assert onnx_query.main(arguments) == 0
    head, *ways = capsys.readouterr().out.splitlines()
    assert head.startswith("8x12 x2; projecting once a pair ")
    names = ["1 threads, 1 at once", "2 threads, 1 at once", "2 threads, 2 at once"]
    assert [way.split(":")[0] for way in ways] == names
    assert (tmp_path / "rows.csv").read_text().count("\n8,12,2,1,") == 3


@pytest.mark.slow
def test_engines_built_ahead_of_time(tmp_path, capsys, monkeypatch):
    pytest.importorskip("tensorrt_rtx_bindings")
    from benchmarks.tools import tensorrt_rtx

    monkeypatch.setattr(tensorrt_rtx, "load", lambda weights, untrained: network(SMALL))
    out = tmp_path / "rows.csv"
    assert tensorrt_rtx.main(["--network", "own", "--dtype", "float32", "--together", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        f"own float32 SM80+SM86+SM89+SM120 {g}" for g in ("query", "encoder")
    ]
    assert len(out.read_text().splitlines()) == 3


def test_a_commit_is_known_without_git(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    assert machine.commit() == "unknown"
    noted = tmp_path / machine.BUILD_INFO
    for said, commit in (('{"commit": "0123+"}', "0123+"), ("{}", "unknown"), ("[]", "unknown"), ("no", "unknown")):
        noted.write_text(said)
        assert machine.commit() == commit
    (tmp_path / ".git").mkdir()
    noted.write_text('{"commit": "4567"}')
    monkeypatch.setenv("PATH", "")
    assert machine.commit() == "4567"


@pytest.mark.parametrize("kind", [screen.Rich, screen.Plain])
def test_a_screen_shows_lines_and_tables(kind, capsys):
    shown = kind()
    shown.line("[a] line", "red")
    shown.table("title", ("form", "note"), [("eager", ""), ("[b]", "x" * 30)], ("", "red"))
    said = capsys.readouterr().out
    for part in ("[a] line", "title", "form", "note", "eager", "[b]", "x" * 30):
        assert part in said
