"""Sound that an output does not hold as it is: with gaps, or with rates and channels that change."""

import numpy as np
import pytest

from video.clips import samples
from video.rich import Sound, onset, remuxed, rich
from video.test_streams import run
from vinr_engine.video.io.carried import CONVERTED, COPIED, LEFT_OUT


@pytest.mark.parametrize(
    ("codec", "muxer", "suffix", "to"),
    [("aac", "mp4", "avi", "mp3"), ("aac", "flv", "avi", "mp3"), ("ac3", "matroska", "avi", "mp3"),
     ("wmav2", "asf", "avi", "mp3"), ("flac", "matroska", "avi", "flac"), ("pcm_s16le", "matroska", "avi", "pcm_s16le"),
     ("pcm_s16le", "nut", "mp4", "pcm_s16le"), ("pcm_s24le", "matroska", "mov", "pcm_s24le"), ("aac", "flv", "mp4", ""),
     ("pcm_s16le", "matroska", "mkv", "")],
)  # fmt: skip
def test_what_follows_a_gap_in_sound_is_heard_in_time(tmp_path, codec, muxer, suffix, to):
    """AVI, and MP4 with PCM, only count samples."""
    source = rich(tmp_path / "in", 20, sounds=[Sound(codec, begin=1.4)], muxer=muxer, gap=3)
    done, notes = run(source, tmp_path / f"out.{suffix}")
    assert onset(tmp_path / f"out.{suffix}") == pytest.approx(4.4, abs=0.06)
    (carried,) = done.streams
    assert (carried.became, carried.to) == (CONVERTED if to else COPIED, to)
    told = [f"converted: audio 1 ({codec}) to {to} (its gaps become silence)"] if to else []
    assert [note for note in notes if "audio" in note] == told


def test_a_gap_is_looked_for_in_the_part_that_is_used(tmp_path):
    source = rich(tmp_path / "in.mkv", 20, sounds=[Sound("ac3")], gap=3)
    for part in ({"end": "0.9"}, {"start": "4"}):
        done, _ = run(source, tmp_path / f"{next(iter(part))}.avi", **part)
        assert [c.became for c in done.streams] == [COPIED]


def test_small_gaps_add_up(tmp_path):
    """A capture that loses a packet now and then."""
    source = rich(tmp_path / "in.mkv", 40, sounds=[Sound("aac", begin=3)])
    lossy = remuxed(source, tmp_path / "lossy.mkv", lambda p: p.stream.type == "video" or p.pts % 10)
    done, _ = run(lossy, tmp_path / "out.avi")
    assert [(c.became, c.to) for c in done.streams] == [(CONVERTED, "mp3")]
    assert onset(tmp_path / "out.avi") == pytest.approx(3, abs=0.12)


def test_a_gap_that_may_not_be_filled(tmp_path):
    source = rich(tmp_path / "in.mp4", 20, sounds=[Sound()], gap=3)
    done, notes = run(source, tmp_path / "out.avi", audio="copy")
    assert [c.became for c in done.streams] == [LEFT_OUT]
    assert "left out: audio 1 (aac) (.avi does not hold its gaps, which --audio auto fills)" in notes


def test_sound_whose_rate_avi_does_not_say_is_converted(tmp_path):
    """It would take six times as long."""
    source = rich(tmp_path / "in.mkv", 20, sounds=[Sound("eac3", begin=1.4)])
    done, _ = run(source, tmp_path / "out.avi")
    assert [c.to for c in done.streams] == ["mp3"]
    assert onset(tmp_path / "out.avi") == pytest.approx(1.4, abs=0.06)


def changing(path, *sounds):
    """A broadcast whose sound changes after 1.9 s."""
    parts = [rich(path.with_name(f"{n}.ts"), 20, [sound], muxer="mpegts") for n, sound in enumerate(sounds)]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "webm"])
@pytest.mark.parametrize("later", [Sound(rate=44100), Sound(layout="stereo"), Sound(layout="5.1")])
def test_sound_that_changes_its_rate_or_channels_is_heard_to_its_end(tmp_path, suffix, later):
    """MP4 and Matroska say once how AAC is coded: what differs would not be heard, or at another pitch."""
    source = changing(tmp_path / "in.ts", Sound(), later)
    done, notes = run(source, tmp_path / f"out.{suffix}")
    assert done.streams[0].became == CONVERTED
    assert notes[0].startswith("converted: audio 1 (aac) to")
    if suffix != "webm":
        assert notes[0].endswith("(its rate or channels change: they stay as they begin)")
    heard = samples(tmp_path / f"out.{suffix}")
    assert heard.shape == (1, pytest.approx(4 * 48000, abs=5000))
    for part in heard[0, 9600 : 9600 + 48000], heard[0, -48000 - 9600 : -9600]:
        assert np.argmax(np.abs(np.fft.rfft(part * np.hanning(len(part))))) == pytest.approx(440, abs=2)


def test_sound_that_stays_as_it_is_and_sound_that_says_its_changes_are_copied(tmp_path):
    for n, sounds in enumerate([(Sound(), Sound()), (Sound("ac3", layout="stereo"), Sound("ac3", layout="5.1"))]):
        (tmp_path / str(n)).mkdir()
        done, _ = run(changing(tmp_path / str(n) / "in.ts", *sounds), tmp_path / f"{n}.mp4")
        assert [c.became for c in done.streams] == [COPIED]
    source = changing(tmp_path / "in.ts", Sound(), Sound(rate=44100))
    done, notes = run(source, tmp_path / "out.mp4", audio="copy")
    assert done.streams[0].became == LEFT_OUT
    assert "rates or channels that change, which --audio auto converts" in notes[0]


def test_sound_that_needs_no_resampling_at_first_may_do_later(tmp_path):
    source = changing(tmp_path / "in.ts", Sound(), Sound(rate=44100))
    run(source, tmp_path / "out.mkv", audio="flac")
    assert samples(tmp_path / "out.mkv").shape[1] == pytest.approx(4 * 48000, abs=5000)
