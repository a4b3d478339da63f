"""`vinr bench --base`: verdicts on made-up times; git, a build and two processes. No time is asserted."""

import json
import math
import random
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from benchmarks.common.screen import Plain
from benchmarks.compare import run, tree, verdict, worker
from benchmarks.compare.run import BASE, NOT_MEASURED, THIS, Row
from benchmarks.compare.verdict import FASTER, SAME, SLOWER
from vinr_engine.cli import main as cli

STUB = """
import contextlib, types, torch
__version__ = "stub"
library = torch.library.Library("vinr", "FRAGMENT")
library.define("cpu_variant() -> str")
library.impl("cpu_variant", lambda: "pretended", "CompositeExplicitAutograd")
backend = contextlib.nullcontext
ops = types.SimpleNamespace(deform_conv2d=lambda x, *a, **k: x * 2, {more})
"""
SETUP = """
import pathlib, sys
print("compiling", *sys.argv[1:])
{fate}
pathlib.Path("vinr_engine/_C.abi3.so").touch()
"""
PACKED = "deform_conv2d_packed=lambda x, *a, **k: x"


def git(folder, *arguments):
    done = subprocess.run(
        ["git", "-c", "user.name=n", "-c", "user.email=e@e", *arguments],
        cwd=folder, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout.strip()


def commit(folder, fate="", more=""):
    """Commits a stub of the package whose build ends as `fate` says. Returns the commit's name."""
    (folder / "vinr_engine").mkdir(exist_ok=True)
    (folder / "vinr_engine" / "__init__.py").write_text(STUB.format(more=more))
    (folder / "setup.py").write_text(SETUP.format(fate=fate))
    (folder / ".gitignore").write_text("/build/\n*.so\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", "stub")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "vinr_engine").mkdir()
    (folder / "vinr_engine" / "_C.abi3.so").touch()
    monkeypatch.setattr(run, "ROOT", folder)
    monkeypatch.setattr(run, "SAMPLE", 0.0)
    return folder


def noisy(seed, ratio, spread, rounds=20):
    """Times of both whose true ratio is known: what the machine does hits both, and some rounds are outliers."""
    draw = random.Random(seed)
    load = [math.exp(draw.gauss(0, 0.5)) for _ in range(rounds)]

    def times(factor):
        return [factor * each * math.exp(draw.gauss(0, spread)) * (3 if draw.random() < 0.05 else 1) for each in load]

    return times(1.0), times(ratio)


@pytest.mark.parametrize(("count", "rank"), [(0, 0), (5, 0), (6, 1), (8, 1), (9, 2), (20, 6), (100, 40)])
def test_the_rank_is_that_of_the_sign_test(count, rank):
    assert verdict.rank(count) == rank
    assert sum(math.comb(count, i) for i in range(rank)) / 2**count <= 0.025


@pytest.mark.parametrize("ratio", [0.9, 1.0, 1.2])
def test_the_interval_holds_what_was_put_in(ratio):
    found = [verdict.compare(*noisy(seed, ratio, 0.1)) for seed in range(400)]
    held = sum(each.low <= ratio <= each.high for each in found)
    assert held >= 0.95 * len(found) - 3 * math.sqrt(len(found) * 0.95 * 0.05)
    assert all(each.low <= each.median <= each.high for each in found)


@pytest.mark.parametrize(
    ("ratio", "spread", "said"),
    [
        (1.2, 0.02, SLOWER),
        (0.8, 0.02, FASTER),
        (1.0, 0.02, SAME),
        (1.2, 0.6, SAME),
        (1.01, 0.001, SAME),
        (0.98, 0.001, SAME),
    ],
)
def test_only_a_whole_interval_makes_a_verdict(ratio, spread, said):
    assert verdict.compare(*noisy(1, ratio, spread)).verdict == said


def test_too_few_rounds_hold_no_interval():
    with pytest.raises(ValueError, match="5 rounds hold no interval: at least 6"):
        verdict.compare([1.0] * 5, [1.0] * 5)


def test_both_are_measured_in_turn_and_a_drift_cancels():
    asked, clock = [], [1.0]

    def ask(name, request):
        asked.append((name, *request))
        clock[0] *= 1.01  # each sample is slower than the last one
        return {"seconds": clock[0] * request.get("calls", 1) * (2 if name == THIS else 1)}

    row = run.row("a case", [run.measured("a case", ask) for _ in range(6)])
    assert [name for name, what in asked if what == "calls"] == [BASE, THIS, THIS, BASE] * 2 * 6
    assert (row.verdict, row.calls) == (SLOWER, 1)
    assert row.ratio == pytest.approx(2, rel=0.001)


def test_short_calls_are_repeated_in_a_sample():
    calls = []
    run.measured("a case", lambda name, request: calls.append(request.get("calls")) or {"seconds": 0.01})
    assert calls == [None, None, *[10] * 8]


def test_the_table_and_its_names(capsys):
    rows = [Row("a", SLOWER, 0.1, 0.2, 2.0, 1.9, 2.1, 1), Row("b", NOT_MEASURED, note="base: none")]
    run.show(rows, "title", Plain())
    head, first, second = capsys.readouterr().out.splitlines()[1:]
    assert head.split() == ["case", "base", "this", "this", "/", "base", "95", "%", "interval"]
    assert first.split() == ["a", "100", "ms", "200", "ms", "2.000", "1.900", "to", "2.100", "slower"]
    assert second.split() == ["b", "not", "measured:", "base:", "none"]


def test_cases_are_named_once_and_chosen_by_patterns():
    names = [c.name for c in worker.EVERY]
    assert len(set(names)) == len(names)
    assert run.chosen(["query*float32"]) == [n for n in names if n.startswith("query") and "float32" in n]
    with pytest.raises(ValueError, match="no case fits nonsense: choose among deform_conv2d 112x64, float32; "):
        run.chosen(["nonsense"])


def test_a_commit_is_built_once(checkout):
    first, second = commit(checkout), commit(checkout, more=PACKED)
    place = tree.built(checkout, first)
    assert place == checkout / "build" / "bench" / first[:12]
    assert "packed" not in (place / "vinr_engine" / "__init__.py").read_text()
    extension = place / "vinr_engine" / "_C.abi3.so"
    extension.unlink()
    assert tree.built(checkout, first) == place
    assert not extension.exists()  # nothing was built again
    (place / "build" / "done").write_text("another interpreter")
    tree.built(checkout, first)
    assert extension.exists()
    assert tree.built(checkout, second) != place
    assert not tree.changed(checkout)


def test_a_tree_that_was_removed_is_made_anew(checkout):
    place = tree.built(checkout, commit(checkout))
    subprocess.run(["rm", "-r", str(place)], check=True)
    assert (tree.built(checkout, git(checkout, "rev-parse", "HEAD")) / "setup.py").is_file()


def error(capsys, *arguments):
    """What the command says when nothing can be measured."""
    assert run.main(["--rounds", "6", *arguments]) == 2
    *_, said = capsys.readouterr().err.split("vinr bench: error: ")
    return said.rstrip("\n")


def test_a_build_that_fails_is_shown(checkout, capsys):
    broken = commit(checkout, fate="sys.exit('deform.cpp:1: expected a semicolon')")
    said = error(capsys, "--base", broken[:9])
    assert said.startswith(f"commit {broken[:12]} does not build in ")
    assert said.endswith("compiling --quiet build_ext --inplace --force\ndeform.cpp:1: expected a semicolon")
    with pytest.raises(tree.TreeError, match="does not build"):  # it is tried again
        tree.built(checkout, broken)


@pytest.mark.parametrize("rev", ["no-such-branch", "--help", "0123456789abcdef"])
def test_a_commit_that_is_not_there(checkout, capsys, rev):
    commit(checkout)
    assert error(capsys, f"--base={rev}") == f"no commit is called {rev}"


def test_outside_a_checkout(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "ROOT", tmp_path)
    assert error(capsys, "--base", "HEAD") == f"{tmp_path} is no git checkout: another commit cannot be taken from it"


def test_without_git(checkout, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    assert error(capsys, "--base", "HEAD") == "git rev-parse: git is not installed"


def test_an_extension_older_than_its_sources_is_not_measured(checkout, capsys):
    commit(checkout)
    (checkout / "csrc").mkdir()
    (checkout / "csrc" / "new.cpp").touch()
    assert error(capsys, "--base", "HEAD").startswith("csrc/new.cpp is newer than the extension of this tree: build it")
    (checkout / "vinr_engine" / "_C.abi3.so").unlink()
    assert error(capsys, "--base", "HEAD").startswith("this tree has no extension")


@pytest.mark.parametrize("arguments", [["--rounds", "5"], ["--threads", "0"], ["--case", "nonsense"]])
def test_wrong_usage(arguments):
    with pytest.raises(SystemExit, match="2"):
        run.main(["--base", "HEAD", *arguments])


def test_two_commits_in_two_processes(checkout, tmp_path, capsys):
    """Stubs: one op is in both, one in this tree alone, and one in neither."""
    base = commit(checkout)
    (checkout / "vinr_engine" / "__init__.py").write_text(STUB.format(more=PACKED))  # not committed
    out = tmp_path / "out.json"
    arguments = ["--base", "HEAD", "--rounds", "6", "--out", str(out)]
    for pattern in ("deform_conv2d*, float32", "sampled_mlp 128x128"):
        arguments += ["--case", pattern]
    run.main([*arguments, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(out.read_text())
    about = found["about"]
    assert about["base"] == base[:12]
    assert about["this"] == f"{base[:12]} with uncommitted changes"
    assert about["kernels"] == {"base": "pretended", "this": "pretended"}
    rows = {row["case"]: row for row in found["cases"]}
    measured = [name for name, row in rows.items() if row["verdict"] != NOT_MEASURED]
    assert measured == ["deform_conv2d 112x64, float32"]
    assert all(row["low"] <= row["ratio"] <= row["high"] for row in rows.values() if row["ratio"])
    note = rows["deform_conv2d_packed 112x64, float32"]["note"]
    assert note.startswith("base: AttributeError")
    assert "this:" not in note
    assert rows["sampled_mlp 128x128, float32"]["note"].count("AttributeError") == 2
    git(checkout, "worktree", "remove", "--force", f"build/bench/{base[:12]}")


@pytest.mark.parametrize(("said", "code"), [(SLOWER, 1), (SAME, 0), (FASTER, 0), (NOT_MEASURED, 2)])
def test_the_exit_code(checkout, monkeypatch, capsys, said, code):
    class Process:
        greeting: ClassVar = {"variant": "pretended"}

        def stop(self):
            stopped.append(self)

    stopped = []
    commit(checkout)
    monkeypatch.setattr(run, "Child", lambda *_: Process())
    monkeypatch.setattr(run, "measured", lambda *_: run.Round(1.0, 1.0, 1))
    monkeypatch.setattr(run, "row", lambda name, _: Row(name, said if "step" not in name else NOT_MEASURED))
    assert run.main(["--base", "HEAD", "--case", "deform_conv2d", "--rounds", "6"]) == code
    assert said in capsys.readouterr().out
    assert len(stopped) == 2 * 6


def test_the_worker_refuses_another_package_than_the_trees(tmp_path):
    command = [sys.executable, "-m", "benchmarks.compare.worker", str(tmp_path), "--threads", "1"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "was imported, not of" in json.loads(done.stdout)["error"]


def test_every_case_runs_in_this_tree(monkeypatch):
    """Tiny, by the public functions of the package under test."""
    real = worker.Tree.__new__(worker.Tree)
    import vinr_engine

    real.vinr, real.package = vinr_engine, Path(vinr_engine.__file__).parent
    monkeypatch.setattr(worker, "EVERY", [worker.tiny(compared) for compared in worker.EVERY])
    one = worker.Worker(real)
    for compared in worker.EVERY:
        answer = one.answer({"case": compared.name})
        assert "seconds" in answer or "BackendError" in answer["missing"], (compared.name, answer)
    assert one.answer({"calls": 2})["seconds"] > 0


def test_the_command_passes_options_and_exit_code_on(capfd):
    assert cli.main(["bench", "--base=no-such-branch", "--rounds", "6", "--case", "deform_conv2d 112x64, float32"]) == 2
    assert "no-such-branch" in capfd.readouterr().err
