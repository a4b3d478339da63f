"""Drafts: complete or not at all, and nothing stays of processes that were killed."""

import errno
import os
import re
import signal
import subprocess
import sys

import pytest

from vinr_engine import files
from vinr_engine.errors import SinkError

HOLDS = """
import sys, time
from vinr_engine import files
with files.draft(sys.argv[1], folder=sys.argv[2] == "folder") as new:
    (new / "part" if new.is_dir() else new).write_text("half")
    print(new, flush=True)
    sys.stdin.read()
"""


class Holder:
    """A process that has a draft, until it is killed or let go."""

    def __init__(self, path, kind="file"):
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDS, str(path), kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.draft = self.process.stdout.readline().strip()

    def end(self, number=None):
        if number is not None:
            self.process.send_signal(number)
        self.process.communicate()


def hidden(folder):
    return [p.name for p in folder.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_the_draft_of_a_process_that_was_killed_goes_and_a_live_one_stays(tmp_path, kind):
    path = tmp_path / "state"
    dead, live, other = Holder(path, kind), Holder(path, kind), Holder(tmp_path / "state2", kind)
    try:
        dead.end(signal.SIGKILL)
        assert len(hidden(tmp_path)) == 3
        with files.draft(path, folder=kind == "folder"):
            assert not os.path.exists(dead.draft)
            assert os.path.exists(live.draft)
            assert os.path.exists(other.draft)
        assert len(hidden(tmp_path)) == 2
    finally:
        live.end()
        other.end()
    assert (path / "part" if kind == "folder" else path).read_text() == "half"
    assert hidden(tmp_path) == []


def test_other_names_stay(tmp_path):
    host = re.fullmatch(r"\.a\.partial-(.{8})-", files._work_names(tmp_path / "a")).group(1)
    names = [
        ".a.partial-1234abcd", f".a.partial-{host}-1234abcde", f".a.partial-{host}-1234abcX", ".a.partial-x",
        f".b.partial-{host}-1234abcd", f"a.partial-{host}-1234abcd", ".a.partial-00000000-1234abcd",
    ]  # fmt: skip
    for name in names:
        (tmp_path / name).mkdir()
    (tmp_path / f".a.partial-{host}-11112222").write_text("a file")
    (tmp_path / "else").mkdir()
    (tmp_path / f".a.partial-{host}-33334444").symlink_to(tmp_path / "else")
    before = sorted(tmp_path.iterdir())
    files.write_text(tmp_path / "a", "text")
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "a"])
    (tmp_path / f".a.partial-{host}-1234abcd").mkdir()
    files.write_text(tmp_path / "a", "text")
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "a"])


def test_nothing_goes_where_there_are_no_locks(tmp_path, monkeypatch):
    def refuses(*args):
        raise OSError(errno.ENOLCK, "no locks")

    dead = Holder(tmp_path / "a")
    dead.end(signal.SIGKILL)
    monkeypatch.setattr(files.fcntl, "flock", refuses)
    files.write_text(tmp_path / "a", "text")
    assert (tmp_path / "a").read_text() == "text"
    assert os.path.exists(dead.draft)


def test_a_file_that_a_library_puts_in_the_drafts_place_is_held_too(tmp_path):
    with files.draft(tmp_path / "a") as new:
        (new.parent / "own").write_text("by rename")
        os.replace(new.parent / "own", new)
        files.sweep(tmp_path / "a")
        assert new.exists()
    assert (tmp_path / "a").read_text() == "by rename"
    assert hidden(tmp_path) == []


def test_a_folder_on_its_way_out_returns(tmp_path, monkeypatch):
    """The process died after the old folder was moved, and before the new one was."""
    final = tmp_path / "a"
    final.mkdir()
    (final / "x").write_text("old")
    real = files.os.rename

    def dies(old, new):
        if new == final:
            raise KeyboardInterrupt
        real(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "rename", dies)
        patch.setattr(files.shutil, "rmtree", lambda *args, **options: None)
        with pytest.raises(KeyboardInterrupt), files.draft(final, folder=True) as new:
            (new / "x").write_text("new")
    assert not final.exists()
    files.sweep(final)
    assert (final / "x").read_text() == "old"
    assert hidden(tmp_path) == []


def test_a_folder_with_other_files_stays(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis").write_text("precious")
    with pytest.raises(SinkError, match="other files"), files.draft(tmp_path / "a", True, re.compile("x")) as new:
        (new / "x").write_text("new")
    assert (tmp_path / "a" / "thesis").read_text() == "precious"
    assert hidden(tmp_path) == []
