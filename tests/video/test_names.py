"""Names of outputs: every one that the file system takes, and none taken that appears while a run is under way."""

import os

import pytest

from video.clips import Blend, leftovers, panning, read, write
from vinr_engine import files
from vinr_engine.errors import Cancelled, SinkError, printable
from vinr_engine.video.render import upscale


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write(tmp_path_factory.mktemp("clip") / "in.mp4", panning(3, 16, 12), audio="aac")


NAMES = {
    "244 bytes": b"\xe3\x81\x82" * 80 + b".mp4",
    "255 bytes": b"\xe3\x81\x82" * 83 + b"ab.mp4",
    "255 letters": b"a" * 251 + b".mkv",
    "two lines": b"new\nline.mp4",
    "Latin-1": b"caf\xe9.mp4",
    "255 bytes that are no text": b"\xe9" * 251 + b".mp4",
    "a dash": b"-o.mp4",
    "like an address": b"http:x.mp4",
    "like a protocol": b"file:x.mkv",
    "like a pattern": b"a%03d.mp4",
    "like a glob": b"[x]*.mp4",
    "quotes": b"'q\".mp4",
    "no stem": b" .mp4",
    "a folder": b"\xe3\x81\x82" * 85,
    "a folder like a format": b"%d{0}%s",
}


@pytest.mark.parametrize("name", NAMES)
def test_any_name(tmp_path, clip, name):
    path = tmp_path / os.fsdecode(NAMES[name])
    upscale(clip, path, space=1, time=1, model=Blend())
    assert leftovers(tmp_path) == []
    assert len(list(path.iterdir()) if path.is_dir() else read(path)) == 3


@pytest.mark.parametrize("name", ["255 bytes", "255 bytes that are no text", "a folder"])
def test_what_is_kept_of_long_names(tmp_path, clip, name):
    """An interrupted run leaves its journal and what is done, both under shorter names, and goes on."""
    path = tmp_path / os.fsdecode(NAMES[name])
    moments = iter(range(100))
    with pytest.raises(Cancelled, match="2 of about"):
        upscale(clip, path, space=1, time=4, model=Blend(), keep_partial=True, cancel=lambda: next(moments) == 2)
    assert len(list(tmp_path.iterdir())) == 2
    assert upscale(clip, path, space=1, time=4, model=Blend(), keep_partial=True).resumed == 2
    assert list(tmp_path.iterdir()) == [path]


def test_names_beside_long_ones_differ(tmp_path):
    """Those of two outputs that differ in their last letters only do too: one would remove what the other left."""
    names = [files.beside(tmp_path / ("a" * 250 + end), ".", ".vinr") for end in ("b", "c")]
    assert names[0] != names[1]
    for name in names:
        name.touch()
    assert files.beside(tmp_path / "short", ".", ".vinr") == tmp_path / ".short.vinr"


@pytest.mark.parametrize("text", ["two\nlines", "\x1b[31mred", "tab\t", "\u202eright to left"])
def test_names_in_messages_are_one_line_without_control_characters(text):
    shown = printable(text)
    assert shown.isprintable()
    assert eval(f'"{shown}"') == text


class Appears(Blend):
    """Something else is written to the output's place while the pictures are made."""

    def __init__(self, path, inside):
        super().__init__()
        self.path, self.inside = path, inside

    def query(self, *args, **kwargs):
        self.path.mkdir(exist_ok=True) if self.inside else None
        (self.path / self.inside if self.inside else self.path).write_text("precious")
        return super().query(*args, **kwargs)


@pytest.mark.parametrize(("name", "inside"), [("o.mp4", ""), ("o.mkv", ""), ("o", "frame_000099.png"), ("o", "a.txt")])
def test_an_output_that_appears_meanwhile_is_not_replaced(tmp_path, clip, name, inside):
    path = tmp_path / name
    with pytest.raises(SinkError, match=r"has appeared meanwhile.*the same command goes on"):
        upscale(clip, path, space=1, time=2, model=Appears(path, inside))
    assert (path / inside if inside else path).read_text() == "precious"
    with pytest.raises(SinkError, match=r"--overwrite|holds other files"):
        upscale(clip, path, space=1, time=2, model=Blend())
    if inside.endswith(".txt"):
        (path / inside).unlink()
    model = Blend()
    upscale(clip, path, space=1, time=2, model=model, overwrite=True)
    assert model.times == []  # all was done
    assert len(list(path.iterdir()) if path.is_dir() else read(path)) == (5 if inside else 6)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("system", ["renames", "cannot"])
def test_rename_new(tmp_path, monkeypatch, system):
    if system == "cannot":  # an old kernel, or another system
        monkeypatch.setattr(files.ctypes, "CDLL", lambda *args, **kwargs: object())
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("1")
    files.rename_new(old, new)
    assert (new.read_text(), old.exists()) == ("1", False)
    old.write_text("2")
    with pytest.raises(FileExistsError):
        files.rename_new(old, new)
    assert (new.read_text(), old.read_text()) == ("1", "2")
    with pytest.raises(FileNotFoundError):
        files.rename_new(tmp_path / "no", tmp_path / "never")


def test_names_of_tags_are_said_on_one_line(tmp_path):
    """And without what a terminal would obey."""
    source = write(
        tmp_path / "in.mkv", panning(2, 16, 12), codec="ffv1", options={"level": "3"}, metadata={"a\nb\x1b": "c"}
    )
    notes = []
    upscale(source, tmp_path / "o.avi", space=1, time=1, model=Blend(), note=notes.append)
    assert any("a\\nb" in text.lower() for text in notes)
    assert all(text.isprintable() for text in notes)
