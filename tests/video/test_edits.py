"""Edit lists, as phones and QuickTime write them where a clip was trimmed: what they hide is shown to no one."""

import struct
from fractions import Fraction

import numpy as np
import pytest

from video.clips import Blend, av, read, seconds
from video.rich import Sound, Text, onset, rich, streams, words
from vinr_engine.video.io.reading import STOP
from vinr_engine.video.render import upscale

FORMATS = {"mjpeg": "yuvj420p", "prores_ks": "yuv422p10le"}
PRIMING = Fraction(1024, 48000)


def boxes(data, name, begin=0, end=None):
    """(begin, end) of the boxes of a name in another one's content."""
    end = len(data) if end is None else end
    while begin < end:
        size, found = struct.unpack(">I4s", data[begin : begin + 8])
        if found == name:
            yield begin, begin + size
        begin += size


def inner(data, path):
    """The first box by a path of names."""
    begin, end = 0, len(data)
    for name in path:
        begin, end = next(boxes(data, name, begin, end))
        begin += 8
    return begin


def edited(path, *edits):
    """A MOV file whose tracks have edit lists: (seconds, begin in the track's own time, or None for nothing) each."""
    data = bytearray(path.read_bytes())
    moov, end = next(boxes(data, b"moov"))
    assert end == len(data)  # nothing that follows moves
    scale = struct.unpack_from(">I", data, inner(data, [b"moov", b"mvhd"]) + 12)[0]
    tracks = [bytearray(data[a:b]) for a, b in boxes(data, b"trak", moov + 8, end)]
    for track, entries in zip(tracks, edits, strict=True):
        own = struct.unpack_from(">I", track, inner(track, [b"trak", b"mdia", b"mdhd"]) + 12)[0]
        rows = [
            struct.pack(">iiI", round(length * scale), -1 if at is None else round(at * own), 1 << 16)
            for length, at in entries
        ]
        listed = struct.pack(">I4sII", 16 + 12 * len(rows), b"elst", 0, len(rows)) + b"".join(rows)
        a, b = next(boxes(track, b"edts", 8))
        track[a:b] = struct.pack(">I4s", 8 + len(listed), b"edts") + listed
        track[:4] = struct.pack(">I", len(track))
    parts = list(boxes(data, b"trak", moov + 8, end))
    head, tail = data[moov + 8 : parts[0][0]], data[parts[-1][1] : end]
    content = head + b"".join(tracks) + tail
    path.write_bytes(data[:moov] + struct.pack(">I4s", 8 + len(content), b"moov") + content)
    return path


def run(source, target, **options):
    notes = []
    done = upscale(source, target, **{"space": 1, "time": 1, "model": Blend(), "note": notes.append, **options})
    return done, notes


def trimmed(path, codec, sound="aac"):
    """Two seconds of three, from 0.75 s on; the sound is heard 0.75 s later."""
    rich(path, 30, [Sound(sound, begin=1.5)], codec=codec, size=(128, 96), pixel_format=FORMATS.get(codec, "yuv420p"))
    return edited(path, [(2, 0.75)], [(2, 0.75 + (PRIMING if sound == "aac" else 0))])


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4", "mjpeg", "prores_ks"])
@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_what_was_trimmed_away_is_no_damage(tmp_path, codec, suffix):
    source, target = trimmed(tmp_path / "in.mov", codec), tmp_path / f"out.{suffix}"
    done, notes = run(source, target, on_error=STOP)
    assert (done.frames_in, done.faults.dropped, done.faults.held) == (20, 0, 0)
    assert not [note for note in notes if "unreadable" in note]
    assert [float(t) for t in seconds(read(target))] == pytest.approx([n / 10 for n in range(20)], abs=0.001)
    assert onset(target) == pytest.approx(0.75, abs=0.003)
    sound = streams(target)[1]
    assert sound.packets[0][0] >= -2 * PRIMING  # but for what its decoder begins with
    assert sound.packets[-1][0] + sound.packets[-1][1] < 2.03


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "avi", "webm"])
def test_what_was_cut_out_is_not_shown(tmp_path, suffix):
    """The first second, and a second and a half from 2.35 s on."""
    source, target = tmp_path / "in.mov", tmp_path / f"out.{suffix}"
    rich(source, 40, [Sound("pcm_s16le", begin=2.5)], size=(128, 96))
    edited(source, [(1, 0), (1.5, 2.35)], [(1, 0), (1.5, 2.35)])
    done, notes = run(source, target)
    assert (done.frames_in, done.faults.dropped, done.faults.held, done.faults.repaired) == (25, 0, 0, 0)
    assert not [note for note in notes if "timestamps" in note]
    times = [[float(t) for t in seconds(read(path))] for path in (source, target)]
    assert times[1] == pytest.approx(times[0], abs=0.001)
    assert onset(target) == pytest.approx(onset(source), abs=0.03)
    sound = streams(target)[1]
    assert float(max(at + length for at, length, _ in sound.packets)) == pytest.approx(2.5, abs=0.03)


def test_a_part_of_what_is_left(tmp_path):
    source, target = tmp_path / "in.mov", tmp_path / "out.mkv"
    rich(source, 60, [Sound("pcm_s16le", begin=4.2)], size=(128, 96))
    edited(source, [(1, 0), (3, 2.35)], [(1, 0), (3, 2.35)])
    run(source, target, start=2.5, codec="ffv1")
    assert onset(target) == pytest.approx(onset(source) - 2.5, abs=0.003)
    expected = [f.to_ndarray(format="rgb24") for f in read(source)][25:]
    found = [f.to_ndarray(format="rgb24") for f in read(target)]
    assert len(found) == len(expected) == 15
    assert all(np.abs(a.astype(int) - b).mean() < 2 for a, b in zip(found, expected, strict=True))


def test_subtitles_that_are_hidden_stay_so(tmp_path):
    source = tmp_path / "in.mov"
    lines = (0.1, 0.4, "Before"), (1.0, 1.5, "Within"), (2.8, 2.9, "After")
    rich(source, 30, texts=[Text("mov_text", lines)], size=(128, 96))
    edited(source, [(2, 0.75)], [(2, 0.75)])
    run(source, tmp_path / "out.mkv")
    assert [line for _, _, line in words(source)] == ["Within"]
    assert words(tmp_path / "out.mkv") == words(source)


def test_an_empty_edit_delays_a_track(tmp_path):
    source = rich(tmp_path / "in.mov", 20, [Sound("aac", begin=0.5)], size=(128, 96))
    edited(source, [(1, None), (2, 0)], [(0.5, None), (2, PRIMING)])
    assert onset(source) == pytest.approx(0, abs=0.003)
    for suffix in ("mkv", "mp4"):
        run(source, tmp_path / f"out.{suffix}")
        assert onset(tmp_path / f"out.{suffix}") == pytest.approx(0, abs=0.003)
        with av.open(str(tmp_path / f"out.{suffix}")) as out:
            assert len(list(out.decode(video=0))) == 20
