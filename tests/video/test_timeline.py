"""Timestamps that start again or jump, put right for all streams of a file by one offset."""

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import pytest

from video.clips import av, panning, write
from vinr_engine.video.io.timeline import Timeline


def repaired(path):
    """(stream, raw seconds, repaired seconds) of each packet with a time, and how often the time line was mended."""
    with av.open(str(path)) as container:
        line, found = Timeline(container), []
        for packet in container.demux():
            offset = line.see(packet)
            if packet.pts is not None:
                at = packet.pts * packet.time_base
                found.append((packet.stream.type, at, at + offset))
        return found, line.joins


def of(found, kind):
    return sorted(new for stream, _, new in found if stream == kind)


def gaps(times):
    return [b - a for a, b in pairwise(times)]


@pytest.fixture(scope="module")
def captures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captures")
    return [
        write(folder / f"{n}.ts", panning(frames), audio="aac", options={"crf": "4", "bf": str(bf)})
        for n, (frames, bf) in enumerate([(12, 2), (15, 0), (9, 2)])
    ]


def test_joined_captures_go_on(tmp_path, captures):
    (tmp_path / "in.ts").write_bytes(b"".join(path.read_bytes() for path in captures))
    found, joins = repaired(tmp_path / "in.ts")
    assert joins == 2
    picture, sound = of(found, "video"), of(found, "audio")
    assert len(picture) == 12 + 15 + 9
    steps = gaps(picture)
    assert sum(step == Fraction(1, 10) for step in steps) >= 33
    assert all(Fraction(1, 10) <= step < Fraction(3, 20) for step in steps)
    assert all(-Fraction(1, 20) < step < Fraction(3, 20) for step in gaps(sound))


def test_sound_keeps_its_distance_to_the_picture(tmp_path, captures):
    """Of each piece by itself; its streams need not cross at the same packet."""
    (tmp_path / "in.ts").write_bytes(b"".join(path.read_bytes() for path in captures))
    found, _ = repaired(tmp_path / "in.ts")
    offsets = {kind: list(dict.fromkeys(new - at for k, at, new in found if k == kind)) for kind in ("video", "audio")}
    assert len(offsets["video"]) == 3
    assert offsets["video"] == offsets["audio"]


def test_a_file_in_order_is_left_alone(captures):
    for path in captures:
        found, joins = repaired(path)
        assert joins == 0
        assert all(at == new for _, at, new in found)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_long_still_is_left_alone(tmp_path, suffix):
    path = write(tmp_path / f"in.{suffix}", panning(4), stamps=[0, 100, 95_000, 95_100], options={"bf": "0"})
    found, joins = repaired(path)
    assert joins == 0
    assert of(found, "video")[2] == 95


def test_a_capture_with_a_hole_goes_on(tmp_path):
    path = write(tmp_path / "in.ts", panning(5), stamps=[0, 100, 200, 95_200, 95_300], options={"bf": "0"})
    found, joins = repaired(path)
    assert joins == 1
    times = of(found, "video")
    assert times[-1] - times[0] < 1


@dataclass
class Disposed:
    """Stands in for a stream."""

    index: int
    type: str
    disposition: object = av.stream.Disposition(0)


@dataclass
class Stamped:
    """Stands in for a packet: times in milliseconds."""

    stream: Disposed
    dts: int
    duration: int
    time_base: Fraction = Fraction(1, 1000)
    is_discard: bool = False

    @property
    def pts(self):
        return self.dts


@pytest.fixture
def line(captures):
    with av.open(str(captures[0])) as container:
        return Timeline(container)


PICTURE, SOUND, WORDS = Disposed(0, "video"), Disposed(1, "audio"), Disposed(2, "subtitle")


def test_a_stream_that_crosses_later_keeps_its_offset_until_then(line):
    fed = [(PICTURE, 100_000, 40), (SOUND, 99_990, 20), (PICTURE, 100_040, 40)]
    fed += [(PICTURE, 5000, 40), (SOUND, 100_010, 20), (SOUND, 100_030, 20), (WORDS, 100_040, 0), (SOUND, 100_050, 20)]
    fed += [(SOUND, 4990, 20), (PICTURE, 5040, 40), (WORDS, 5060, 0)]
    after = [float(line.see(Stamped(stream, dts, length))) for stream, dts, length in fed]
    assert after == [0] * 3 + [95.08] + [0] * 4 + [95.08] * 3
    assert line.joins == 1


def test_a_picture_that_stays_away_while_the_sound_goes_on(line):
    """No jump is closed that the sound shows to be time that went by."""
    for at in range(0, 30_000, 100):
        assert line.see(Stamped(SOUND, at, 100)) == 0
        if at < 200 or at > 29_000:
            assert line.see(Stamped(PICTURE, at, 100)) == 0
    assert line.joins == 0


def test_a_jump_ahead_of_both(line):
    for at in range(0, 1000, 100):
        line.see(Stamped(PICTURE, at, 100))
        line.see(Stamped(SOUND, at, 100))
    assert line.see(Stamped(SOUND, 500_000, 100)) == -499
    assert line.see(Stamped(PICTURE, 500_000, 100)) == -499
    assert line.see(Stamped(PICTURE, 500_100, 100)) == -499


def test_programmes_with_clocks_of_their_own(line):
    other = Disposed(3, "video")
    for at in range(0, 1000, 100):
        assert line.see(Stamped(PICTURE, 50_000 + at, 100)) == 0
        assert -9 < line.see(Stamped(other, 900_000 + at, 100)) + 850 < 9


def test_a_clock_that_wraps_goes_on(tmp_path):
    """MPEG-TS counts to 2^33 ticks, about a day."""
    source = write(tmp_path / "a.ts", panning(30), audio="aac", options={"bf": "0"})
    with av.open(str(source)) as src, av.open(str(tmp_path / "in.ts"), "w", options={"mpegts_copyts": "1"}) as out:
        targets = [out.add_stream_from_template(stream) for stream in src.streams]
        for packet in src.demux():
            if packet.pts is not None:
                packet.pts += 2**33 - 100_000
                packet.dts += 2**33 - 100_000
                packet.stream = targets[packet.stream.index]
                out.mux(packet)
    found, _ = repaired(tmp_path / "in.ts")
    for kind, step in (("video", Fraction(1, 10)), ("audio", Fraction(1024, 48000))):
        times = of(found, kind)
        assert len(times) >= 30
        assert all(abs(gap - step) < Fraction(1, 1000) for gap in gaps(times))


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg2video"])
def test_pictures_without_times_count_where_timestamps_start_again(tmp_path, codec):
    """A program stream says when few of its pictures are shown, and may start again below the last one that it says."""
    options = {"x265-params": "bframes=0:log-level=none"} if codec == "libx265" else {"bf": "0"}
    part = write(tmp_path / "part.mpg", panning(12), codec=codec, rate=25, options=options).read_bytes()
    (tmp_path / "in.mpg").write_bytes(part * 3)
    found, joins = repaired(tmp_path / "in.mpg")
    assert joins == 2
    begins = [new for _, at, new in found if at == found[0][1]]
    assert [b - begins[0] for b in begins] == [0, Fraction(12, 25), Fraction(24, 25)]
