"""A run that ends early, in whatever way, and the same job again: what was done stays, and the output is the same."""

import contextlib
import json
import shutil
from fractions import Fraction

import numpy as np
import pytest

from video.clips import Blend, av, leftovers, panning, read, samples, write
from vinr_engine.errors import Cancelled, SinkError, UsageError
from vinr_engine.video import journal as journals
from vinr_engine.video.io import join, packets, video_source
from vinr_engine.video.render import upscale


class Killed(BaseException):
    """Ends a run where no one expects it."""


class Dies(Blend):
    """Ends the run when it is asked for picture ``at``, counted from 0."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def query(self, *args, **options):
        if len(self.times) == self.at:
            raise Killed
        return super().query(*args, **options)


def shots():
    """Three scenes; the second of one frame, the last of two."""
    tints = np.array([[1.0, 0.4, 0.3], [0.2, 0.6, 1.0], [0.5, 1.0, 0.2]])
    scenes = [panning(5, 96, 64, seed=1), panning(1, 320, 64, seed=5), panning(3, 320, 64, seed=9)]
    return [(p * tint).astype("u1") for shot, tint in zip(scenes, tints, strict=True) for p in shot]


def coded(path):
    """All that a video file holds: each packet of each stream with its times."""
    with av.open(str(path)) as container:
        return [
            (p.stream.index, p.pts, p.dts, p.duration, p.is_keyframe, bytes(p)) for p in container.demux() if p.size
        ]


def contents(path):
    """The same for any output."""
    if "%" in path.name:
        path = path.parent
    if path.is_dir():
        return [(p.name, p.read_bytes()) for p in sorted(path.iterdir())]
    return path.read_bytes() if path.suffix in (".gif", ".webp", ".apng") else coded(path)


CASES = {
    "mp4": ("o.mp4", {"time": 3}),
    "mkv": ("o.mkv", {"time": 3}),
    "webm": ("o.webm", {"time": 3, "audio": "none"}),
    "folder": ("o", {"time": 3}),
    "rate": ("o.mp4", {"fps": "29.97"}),
    "part": ("o.mkv", {"time": 2, "start": "0.15", "end": "0.75"}),
    "no cuts": ("o.mp4", {"time": 2, "cuts": False}),
    "lossless": ("o.mkv", {"time": 2, "codec": "ffv1"}),
    "pattern": ("o/p_%03d.tif", {"time": 3}),
    "gif": ("o.gif", {"fps": 30}),
    "webp": ("o.webp", {"fps": 30}),
    "apng": ("o.apng", {"time": 3}),
    "one frame a segment": ("o.mp4", {"time": 2, "segment": 1}),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write(tmp_path_factory.mktemp("source") / "in.mp4", shots(), audio="aac", options={"crf": "4", "g": "4"})


@pytest.mark.parametrize("case", CASES)
def test_a_run_that_dies_is_taken_up_and_gives_the_same_output(tmp_path, source, case):
    name, options = CASES[case]
    options = {"space": 1, "segment": 4, **options}
    whole = tmp_path / "whole"
    whole.mkdir()
    model = Blend()
    done = upscale(source, whole / name, model=model, **options)
    expected, queries = contents(whole / name), len(model.times)
    assert queries > 5
    for at in range(queries):
        folder = tmp_path / str(at)
        folder.mkdir()
        with pytest.raises(Killed):
            upscale(source, folder / name, model=Dies(at), **options)
        assert not (folder / name.split("/", maxsplit=1)[0]).exists()
        again = upscale(source, folder / name, model=Blend(), **options)
        assert contents(folder / name) == expected
        assert (again.frames_in, again.frames_out, again.cuts) == (done.frames_in, done.frames_out, done.cuts)
        assert again.resumed % options["segment"] == 0
        assert leftovers(folder) == []
        shutil.rmtree(folder)


def test_what_was_done_is_not_done_again(tmp_path, source):
    notes = []
    with pytest.raises(Killed):
        upscale(source, tmp_path / "o.mp4", model=Dies(11), space=1, time=3, segment=4)
    model = Blend()
    done = upscale(source, tmp_path / "o.mp4", model=model, space=1, time=3, segment=4, note=notes.append)
    assert done.resumed == 8
    assert notes == ["8 output frames are done: going on from there"]
    assert model.encodings == 4  # of six


def test_interruptions_keep_every_frame(tmp_path, source):
    """A run that is asked to stop keeps a shorter segment; pictures, times and sound do not differ."""
    upscale(source, tmp_path / "whole.mp4", model=Blend(), space=1, time=3, segment=8)
    calls = []
    for stop in (3, 4, 9, 2, None):
        count = iter(range(10**6))

        def cancel(stop=stop, count=count):
            return next(count) == stop

        if stop is None:
            upscale(source, tmp_path / "o.mp4", model=Blend(), space=1, time=3, segment=8, cancel=cancel)
        else:
            with pytest.raises(Cancelled, match="are kept, and the same command goes on from there"):
                upscale(
                    source, tmp_path / "o.mp4", model=Blend(), space=1, time=3, segment=8, cancel=cancel,
                    progress=lambda done, total: calls.append(done),
                )  # fmt: skip
    assert calls == [0, 1, 2, 3, 3, 4, 5, 6, 7, 7, *range(8, 17), 16, 17, 18]
    one, other = read(tmp_path / "whole.mp4"), read(tmp_path / "o.mp4")
    assert [f.pts for f in one] == [f.pts for f in other]
    for a, b in zip(one, other, strict=True):
        assert np.abs(a.to_ndarray(format="rgb24").astype(int) - b.to_ndarray(format="rgb24")).mean() < 1.5
    assert np.array_equal(samples(tmp_path / "whole.mp4"), samples(tmp_path / "o.mp4"))


@pytest.mark.parametrize("name", ["o.mp4", "o", "o.apng", "o/%d.jpg"])
def test_a_partial_output_on_request(tmp_path, source, name):
    partial = tmp_path / name.split("/", maxsplit=1)[0].replace("o", "o.partial", 1)
    for stop in (5, 9):
        count = iter(range(100))
        with pytest.raises(Cancelled, match=r"o\.partial"):
            upscale(
                source, tmp_path / name, model=Blend(), space=1, time=3, keep_partial=True,
                cancel=lambda stop=stop, count=count: next(count) == stop,
            )  # fmt: skip
        frames = len(list(partial.iterdir())) if partial.is_dir() else len(read(partial))
        assert frames == (5 if stop == 5 else 14)
    upscale(source, tmp_path / name, model=Blend(), space=1, time=3)
    assert [p.name for p in tmp_path.iterdir()] == [name.split("/", maxsplit=1)[0]]


def test_a_partial_output_replaces_nothing_of_another_origin(tmp_path, source):
    (tmp_path / "o.partial.mp4").write_text("precious")
    count = iter(range(100))
    with pytest.raises(SinkError, match="another origin"):
        upscale(
            source, tmp_path / "o.mp4", model=Blend(), space=1, time=3, keep_partial=True,
            cancel=lambda: next(count) == 5,
        )  # fmt: skip
    assert upscale(source, tmp_path / "o.mp4", model=Blend(), space=1, time=3).resumed == 5
    assert (tmp_path / "o.partial.mp4").read_text() == "precious"


class Steps:
    """Counts the steps that a run takes on its files, and ends it at one of them."""

    PLACES = (
        (journals.os, "replace"), (journals.os, "rename"), (journals.files, "sync"), (journals.Journal, "_write"),
        (journals.Journal, "remove"), (journals, "_unlink"), (join.Muxer, "write"), (join.Muxer, "finish"),
        (join, "place_images"),
    )  # fmt: skip

    def __init__(self, monkeypatch, stop=None):
        self.count, self.stop = 0, stop
        for owner, name in self.PLACES:
            monkeypatch.setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, real):
        def step(*args, **options):
            for moment in ("before", "after"):
                if self.count == self.stop:
                    self.count += 1
                    raise Killed
                self.count += 1
                if moment == "before":
                    result = real(*args, **options)
            return result

        return step


@pytest.mark.parametrize("name", ["o.mp4", "o"])
@pytest.mark.parametrize("replaces", [False, True], ids=["new", "replaces"])
def test_a_run_that_dies_between_any_two_steps(tmp_path, source, name, replaces):
    """Each call that moves, writes or removes a file is the last one once, before it and after it."""
    options = {"space": 1, "time": 1, "segment": 5, "overwrite": replaces}
    whole = tmp_path / "whole"
    whole.mkdir()
    upscale(source, whole / name, model=Blend(), **options)
    expected = contents(whole / name)
    stop, ended = 0, False
    while not ended:
        folder = tmp_path / str(stop)
        folder.mkdir()
        if replaces:
            upscale(source, folder / name, model=Blend(), space=1, time=2)
        with pytest.MonkeyPatch.context() as patch:
            steps = Steps(patch, stop)
            with contextlib.suppress(Killed):
                upscale(source, folder / name, model=Blend(), **options)
        ended = steps.count <= stop
        if (folder / f".{name}.vinr").exists() or not (folder / name).exists() or contents(folder / name) != expected:
            upscale(source, folder / name, model=Blend(), **options)
        assert contents(folder / name) == expected, stop
        shutil.rmtree(folder)
        stop += 1
    assert stop > 20


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"time": 2}, r"begun with --time 3, and now --time 2 is asked for.*--restart"),
        ({"space": 2, "cuts": False}, r"begun with --space 1 .*--no-cuts off, and now --space 2 .*--no-cuts on"),
        ({"crf": 30.0}, r"--crf \(default\), and now --crf 30"),
        ({"weights": "untrained"}, r"begun with the weights given model, and untrained are others"),
    ],
)
def test_another_job_is_refused(tmp_path, source, changes, match):
    options = {"space": 1, "time": 3, "segment": 4, "model": Blend()}
    with pytest.raises(Killed):
        upscale(source, tmp_path / "o.mp4", **options | {"model": Dies(11)})
    kept = sorted(p.name for p in (tmp_path / ".o.mp4.vinr").iterdir())
    if changes.pop("weights", None):
        changes |= {"model": None, "untrained": True}
    with pytest.raises(UsageError, match=match):
        upscale(source, tmp_path / "o.mp4", **options | changes)
    assert sorted(p.name for p in (tmp_path / ".o.mp4.vinr").iterdir()) == kept
    assert upscale(source, tmp_path / "o.mp4", **options).resumed == 8


def test_another_source_is_refused(tmp_path, source):
    copy = tmp_path / "in.mp4"
    shutil.copy(source, copy)
    options = {"space": 1, "time": 3, "segment": 4}
    with pytest.raises(Killed):
        upscale(copy, tmp_path / "o.mp4", model=Dies(11), **options)
    write(copy, panning(9, 96, 64))
    with pytest.raises(UsageError, match="is another source or has changed"):
        upscale(copy, tmp_path / "o.mp4", model=Blend(), **options)
    assert upscale(copy, tmp_path / "o.mp4", model=Blend(), restart=True, **options).resumed == 0
    assert leftovers(tmp_path) == []


def test_two_runs_do_not_meet(tmp_path, source):
    class Meets(Blend):
        def query(self, *args, **options):
            with pytest.raises(SinkError, match="another run is making"):
                upscale(source, tmp_path / "o.mp4", model=Blend(), space=1, time=2)
            return super().query(*args, **options)

    upscale(source, tmp_path / "o.mp4", model=Meets(), space=1, time=1)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "line", "half a line"])
def test_damaged_work_is_made_again(tmp_path, source, damage):
    options = {"space": 1, "time": 3, "segment": 4}
    upscale(source, tmp_path / "whole.mp4", model=Blend(), **options)
    with pytest.raises(Killed):
        upscale(source, tmp_path / "o.mp4", model=Dies(13), **options)
    work = tmp_path / ".o.mp4.vinr"
    chunk, journal = work / "chunk-000001.packets", work / "journal.jsonl"
    data, lines = chunk.read_bytes(), journal.read_bytes().splitlines(keepends=True)
    assert len(lines) == 4
    if damage == "cut":
        chunk.write_bytes(data[:-10])
    elif damage == "flipped":
        chunk.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "gone":
        chunk.unlink()
    elif damage == "line":
        journal.write_bytes(b"".join([*lines[:2], b"\x00\xff\n", lines[3]]))
    else:
        journal.write_bytes(b"".join([*lines[:3], lines[3][:30]]))
    if damage == "flipped":  # found when chunks are joined
        with pytest.raises(SinkError, match=r"chunk-000001\.packets is damaged: the same command makes it again"):
            upscale(source, tmp_path / "o.mp4", model=Blend(), **options)
    resumed = upscale(source, tmp_path / "o.mp4", model=Blend(), **options).resumed
    assert resumed == (8 if damage == "half a line" else 4)
    assert contents(tmp_path / "o.mp4") == contents(tmp_path / "whole.mp4")
    assert leftovers(tmp_path) == []


def test_the_journal_says_what_is_made(tmp_path, source):
    with pytest.raises(Killed):
        upscale(source, tmp_path / "o.mp4", model=Dies(11), space=1, time=3, segment=4)
    head, first, _ = map(json.loads, (tmp_path / ".o.mp4.vinr" / "journal.jsonl").read_text().splitlines())
    assert head["arguments"]["--space"] == "1"
    assert head["source"]["name"] == str(source)
    assert (first["chunk"], first["frames"], first["mark"]["frames_out"]) == (0, 4, 4)
    assert Fraction(first["mark"]["time"]) == Fraction(1, 10)


def test_an_input_that_cannot_be_entered_is_read_from_its_beginning(tmp_path, monkeypatch):
    source = write(tmp_path / "in.mp4", panning(40, 48, 32), rate=10, options={"crf": "4", "g": "5"})
    options = {"space": 1, "time": 2, "segment": 10}
    upscale(source, tmp_path / "whole.mp4", model=Blend(), **options)
    real, notes = video_source.VideoSource._enter, []

    def astray(self, start):
        real(self, start)

        def turned(shown):
            for one in shown:
                one.frame = av.VideoFrame.from_ndarray(one.frame.to_ndarray()[::-1], one.frame.format.name)
                yield one

        self._shown = turned(self._shown)

    with pytest.raises(Killed):
        upscale(source, tmp_path / "o.mp4", model=Dies(65), **options)
    monkeypatch.setattr(video_source.VideoSource, "_enter", astray)
    done = upscale(source, tmp_path / "o.mp4", model=Blend(), note=notes.append, **options)
    assert done.resumed == 60
    assert notes[1:] == ["the input cannot be entered exactly where the last run ended: reading it from its beginning"]
    assert contents(tmp_path / "o.mp4") == contents(tmp_path / "whole.mp4")


def test_packets_that_are_cut_short(tmp_path):
    writer = packets.PacketWriter(tmp_path / "p", {"codec": "x"})
    sent = [packets.Packet(n, None if n else -1, 1, not n, bytes([n]) * n) for n in range(3)]
    for packet in sent:
        writer.write(packet)
    writer.close()
    file = packets.PacketFile(tmp_path / "p")
    assert (file.facts, list(file), list(file.order())) == ({"codec": "x"}, sent, [0, 1, 2])
    data = (tmp_path / "p").read_bytes()
    for size in (1, 3):
        (tmp_path / "p").write_bytes(data[:-size])
        with pytest.raises(ValueError, match="cut short"):
            list(packets.PacketFile(tmp_path / "p"))


def test_decoding_times_rise_through_chunks(tmp_path):
    """Two chunks as an encoder with reordered pictures makes them, at uneven times."""
    files = []
    for name, order in (("a", (0, 7, 3, 10)), ("b", (11, 13, 12, 50))):
        writer = packets.PacketWriter(tmp_path / name, {})
        for pts in order:
            writer.write(packets.Packet(pts, None, 1, True, b""))
        writer.close()
        files.append(packets.PacketFile(tmp_path / name))
    ahead = max(join.delay(list(f.order())) for f in files)
    assert ahead == 1
    coded = list(join.decoding_times(files, ahead))
    assert [p.dts for p in coded] == [-3, 0, 3, 7, 10, 11, 12, 13]
    assert all(p.dts <= p.pts for p in coded)


def test_a_run_that_dies_as_its_folder_goes_leaves_nothing(tmp_path, source):
    """Between the journal and its folder: nothing is left to say that the output is done, but that it is there."""
    upscale(source, tmp_path / "o.mp4", model=Blend(), space=1, time=1)
    (tmp_path / ".o.mp4.vinr").mkdir()
    with pytest.raises(SinkError, match="exists"):
        upscale(source, tmp_path / "o.mp4", model=Blend(), space=1, time=1)
    assert leftovers(tmp_path) == []


def test_a_journal_that_goes_before_it_is_locked(tmp_path, monkeypatch):
    """Another run ends between the opening and the lock: the lock of a file without a name is worth nothing."""
    real, gone = journals.fcntl.flock, []

    def flock(file, how):
        if not gone:
            gone.append(shutil.rmtree(tmp_path / ".o.mp4.vinr"))
        real(file, how)

    monkeypatch.setattr(journals.fcntl, "flock", flock)
    with journals.Journal(str(tmp_path / "o.mp4")) as journal:
        assert gone
        assert journal.exists
        with pytest.raises(SinkError, match="another run"), journals.Journal(str(tmp_path / "o.mp4")):
            pass
    assert leftovers(tmp_path) == []


def test_a_damaged_chunk_costs_no_other_one_of_an_interrupted_run(tmp_path, source):
    """The journal holds lines between those of the chunks then: what they say stays, too."""
    options = {"space": 1, "time": 3, "segment": 4, "keep_partial": True}
    count = iter(range(100))
    with pytest.raises(Cancelled):
        upscale(source, tmp_path / "o.mp4", model=Blend(), cancel=lambda: next(count) == 5, **options)
    with pytest.raises(Killed):
        upscale(source, tmp_path / "o.mp4", model=Dies(9), **options)
    *kept, last = sorted((tmp_path / ".o.mp4.vinr").glob("chunk-*"))
    assert len(kept) == 4
    last.unlink()
    count = iter(range(100))
    with pytest.raises(Cancelled):  # which writes the journal anew, and the partial output again
        upscale(source, tmp_path / "o.mp4", model=Blend(), cancel=lambda: next(count) == 1, **options)
    assert upscale(source, tmp_path / "o.mp4", model=Blend(), **options).resumed == 5 + 3 + 4 + 1
    assert [p.name for p in tmp_path.iterdir()] == ["o.mp4"]


def test_images_in_their_places_survive_the_loss_of_others(tmp_path, source, monkeypatch):
    options = {"space": 1, "time": 3, "segment": 4}
    upscale(source, tmp_path / "whole", model=Blend(), **options)
    real, calls = join.place_images, iter(range(100))

    def dies(*args):
        if next(calls) == 2:
            raise Killed
        real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(join, "place_images", dies)
        with pytest.raises(Killed):
            upscale(source, tmp_path / "o", model=Blend(), **options)
    (tmp_path / ".o.vinr" / "chunk-000003.packets").unlink()
    assert upscale(source, tmp_path / "o", model=Blend(), **options).resumed == 12
    assert contents(tmp_path / "o") == contents(tmp_path / "whole")


def test_what_stood_there_returns_until_the_new_output_takes_its_place(tmp_path, source, monkeypatch):
    options = {"space": 1, "time": 1, "overwrite": True}
    upscale(source, tmp_path / "o", model=Blend(), space=1, time=2)
    before, real = contents(tmp_path / "o"), journals.os.replace

    def dies(old, new):
        if new == tmp_path / "o":
            raise Killed
        real(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(journals.os, "replace", dies)
        with pytest.raises(Killed):
            upscale(source, tmp_path / "o", model=Blend(), **options)
    assert not (tmp_path / "o").exists()
    with pytest.raises(UsageError, match="was begun"):
        upscale(source, tmp_path / "o", model=Blend(), **options | {"cuts": False})
    assert contents(tmp_path / "o") == before
    assert upscale(source, tmp_path / "o", model=Blend(), **options).resumed == len(contents(tmp_path / "o"))
    assert leftovers(tmp_path) == []


def test_a_partial_output_is_known_after_a_restart(tmp_path, source):
    options = {"space": 1, "keep_partial": True}
    for time in (3, 2):
        count = iter(range(100))
        with pytest.raises(Cancelled, match=r"o\.partial"):
            upscale(
                source, tmp_path / "o.mp4", model=Blend(), time=time, restart=True,
                cancel=lambda count=count: next(count) == 5, **options,
            )  # fmt: skip
    upscale(source, tmp_path / "o.mp4", model=Blend(), time=2, **options)
    assert [p.name for p in tmp_path.iterdir()] == ["o.mp4"]
