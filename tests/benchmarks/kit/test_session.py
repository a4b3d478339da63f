"""A call of the kit: what runs, in which order, until when, and what is left of it for the next call."""

import json
import sys
import time

import pytest

from benchmarks.gpu.kit import pieces, session
from benchmarks.gpu.kit.pieces import Piece
from benchmarks.gpu.kit.session import DONE, FAILED, UNAVAILABLE, UNFINISHED, WRONG, Session

FOUND = "import json, sys, pathlib; pathlib.Path(sys.argv[1]).write_text(json.dumps({'value': 7})); "


def piece(name, code, group="times", limit=20.0, least=0.1, **options):
    """A piece that runs Python code, to which argv[1] names the file and argv[2] the folder."""

    def command(place, seconds):
        return [sys.executable, "-c", code, str(place.found), str(place.folder), f"{seconds:.2f}"]

    return Piece(name, group, f"title of {name}", command, limit, least, **options)


@pytest.fixture
def call(tmp_path, monkeypatch):
    """One call with these pieces; its session and its exit code."""
    monkeypatch.setattr(session, "MARGIN", 0.2)
    monkeypatch.setattr(session, "REFRESH", 0.1)

    def run(*chosen, deadline=60.0, again=()):
        monkeypatch.setattr(pieces, "PIECES", chosen)
        one = Session(tmp_path / "state", tmp_path / "out", deadline, dry=False)
        for name in again:
            one.forget(next(p for p in chosen if p.name == name))
        code = one.work(chosen)
        one.save()
        return one, code

    return run


def results(tmp_path):
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    return {p["name"]: p for p in found["pieces"]}


def test_exit_codes_are_statuses(call, tmp_path):
    one, code = call(
        piece("good", FOUND), piece("bad", FOUND + "sys.exit(1)"),
        piece("none", "print('no such tool'); raise SystemExit(3)"),
        piece("dead", "import os; print('at the end'); os.abort()"), piece("odd", "raise SystemExit(9)"),
    )  # fmt: skip
    found = results(tmp_path)
    assert {name: p["status"] for name, p in found.items()} == {
        "good": DONE, "bad": WRONG, "none": UNAVAILABLE, "dead": FAILED, "odd": FAILED,
    }  # fmt: skip
    assert code == 1
    assert found["good"]["found"] == {"value": 7}
    assert found["none"]["note"] == "no such tool"
    assert found["dead"]["note"] == "ended by SIGABRT: at the end"
    assert found["odd"]["note"].startswith("ended with exit code 9")
    assert "at the end" in (tmp_path / "out" / "log.txt").read_text()
    assert "title of good" in one.table([piece("good", "")])


def test_what_is_done_is_not_done_again(call, tmp_path):
    counted = "import pathlib, sys; pathlib.Path(sys.argv[2], 'n').open('a').write('x')"
    once, each = piece("once", counted), piece("each", counted, again=True)
    for _ in range(3):
        _, code = call(once, each)
        assert code == 0
    assert (tmp_path / "state" / "work" / "once" / "n").read_text() == "x"
    assert (tmp_path / "state" / "work" / "each" / "n").read_text() == "xxx"
    call(once, each, again=["once"])
    assert (tmp_path / "state" / "work" / "once" / "n").read_text() == "x"  # its folder was emptied
    assert results(tmp_path)["once"]["attempts"] == 1


def test_the_deadline_leaves_the_rest_for_the_next_call(call, tmp_path):
    slow = piece("slow", FOUND + "import time; time.sleep(60)", resumable=True)
    later = piece("later", FOUND, least=5.0)
    began = time.monotonic()
    _, code = call(slow, later, deadline=2.0)
    assert code == session.NOT_FINISHED
    assert time.monotonic() - began < 15  # far from the 60 s of the piece
    found = results(tmp_path)
    assert found["slow"]["status"] == UNFINISHED
    assert found["slow"]["found"] == {"value": 7}  # what it had found by then
    assert found["later"]["attempts"] == 0
    quick = piece("slow", FOUND)
    _, code = call(quick, later)
    assert (code, results(tmp_path)["later"]["status"]) == (0, DONE)


def test_a_piece_that_hangs_is_a_failure(call, tmp_path):
    _, code = call(piece("hangs", "import time; print('so far'); time.sleep(60)", limit=1.0))
    assert code == 1
    assert results(tmp_path)["hangs"]["note"].startswith("took too long: so far")


def test_what_always_crashes_is_given_up(call, tmp_path):
    crash = piece("crash", "import os; os._exit(11)", resumable=True)
    for attempt in range(1, session.ATTEMPTS + 1):
        _, code = call(crash)
        kept = results(tmp_path)["crash"]
        assert kept["attempts"] == attempt
        assert kept["status"] == (FAILED if attempt == session.ATTEMPTS else UNFINISHED)
    assert code == 1


def test_no_gpu_ends_the_call(call, tmp_path):
    _, code = call(piece("host", "print('no GPU'); raise SystemExit(3)", again=True), piece("rest", FOUND))
    assert code == session.NO_GPU
    assert results(tmp_path)["rest"]["attempts"] == 0


def test_pieces_of_one_file_are_shown_apart_and_forgotten_together(call, tmp_path):
    both = FOUND.replace("{'value': 7}", "{'checks': [], 'times': []}")
    one = piece("checks", both, file="gpu", hides=("times",))
    other = piece("times", both, file="gpu", hides=("checks",))
    call(one, other)
    assert results(tmp_path)["checks"]["found"] == {"checks": []}
    assert results(tmp_path)["times"]["found"] == {"times": []}
    again, _ = call(one, other, again=["checks"])
    assert results(tmp_path)["times"]["attempts"] == 1
    assert again.standings["checks"].attempts == 1


def test_files_that_are_kept_come_back(call, tmp_path):
    code = "import pathlib, sys; pathlib.Path(sys.argv[2], 'w.bin').write_bytes(b'weights')"
    call(piece("weights", code, kept=("w.bin", "none.bin")))
    assert (tmp_path / "out" / "w.bin").read_bytes() == b"weights"
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"results.json", "log.txt", "w.bin"}


def test_groups_and_names():
    names = [p.name for p in pieces.PIECES]
    assert len(set(names)) == len(names)
    assert [p.name for p in pieces.of("all")] == names
    assert {p.name for p in pieces.of("train")} == {"host", "float32", "bfloat16", "deterministic", "weights"}
    assert [p.name for p in pieces.of("times", ["clip"])] == ["clip"]
    with pytest.raises(ValueError, match="no piece is called 'clipp': host, checks"):
        pieces.of("times", ["clipp"])
    assert {group for p in pieces.PIECES for group in [p.group]} == {"correctness", "times", "train"}


def test_headlines_of_what_pieces_find():
    row = {"case": "query 320x180 x4", "form": "triton", "precision": "float16", "status": "ok"}
    rows = [row, {**row, "status": "wrong"}, {**row, "status": "not available"}]
    assert pieces.headline("checks", {"checks": rows}) == (
        "1 of 3 right; 1 wrong or failed: query 320x180 x4 triton float16; 1 not available"
    )
    counts = {"counts": {"passed": 9, "failed": 1}, "failed": [{"id": "tests/a.py::test_b"}]}
    assert pieces.headline("tests", counts) == "9 passed, 1 failed: a.py::test_b"
    run = {"step": 300, "steps": 300, "ms_per_step": 61.2, "loss": [10.0, 5.0], "repeats": False}
    assert pieces.headline("deterministic", run) == "step 300 of 300, 61 ms a step, loss 10 to 5, NOT equal"
    assert pieces.headline("weights", None) == ""
    assert pieces.headline("clip", {"rows": []}) == ""


def test_wrong_usage(tmp_path, capsys):
    base = ["all", "--out", str(tmp_path / "out"), "--state", str(tmp_path / "state")]
    for wrong in (["--only", "nothing"], ["--again", "nothing"]):
        with pytest.raises(SystemExit) as ended:
            session.main([*base, *wrong])
        assert ended.value.code == 2
        assert "no piece is called 'nothing'" in capsys.readouterr().err
    assert session.main([*base, "--list"]) == 0
    assert "checks        not finished" in capsys.readouterr().out
