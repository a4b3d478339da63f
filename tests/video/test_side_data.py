"""What frames carry beside their samples: named where no output keeps it, however late it begins."""

import json
import re
import struct
from fractions import Fraction

import pytest
from PIL import Image, ImageCms

from video.clips import Blend, av, panning, read, write
from video.test_segments import apart
from vinr_engine.errors import Cancelled
from vinr_engine.frontends import queue, report
from vinr_engine.video.io import side_data, video_tags
from vinr_engine.video.render import upscale

CAPTIONS = "embedded captions (CEA-608/708)"
LATE = 5
"""The first frame that has it where it begins late."""
_BLANK = bytes.fromhex("fc8080")
CC = b"GA94\x03\xc1\xff" + _BLANK + b"\xff"
"""A53's user data: one triplet of CEA-608."""
PLUS = bytes.fromhex("b5003c 0001 04 01 40") + bytes(14)
VIVID = bytes.fromhex("260004 0005 01") + bytes(8)


def run(source, target, **options):
    """(the summary, the notes)"""
    notes = []
    options = {"space": 1, "time": 1, "model": Blend(), **options}
    return upscale(source, target, note=notes.append, **options), notes


def escaped(payload):
    """Bytes that hold no start code."""
    return re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", payload)


def sei(codec, kind, payload):
    """A NAL unit of supplemental information."""
    head = b"\x06" if codec == "libx264" else b"\x4e\x01"
    return b"\0\0\1" + head + escaped(bytes([kind, len(payload)]) + payload + b"\x80")


def coded(codec, packet, unit):
    """A coded picture in Annex B or MPEG-2 with a unit before its first slice; at its end with one of Dolby Vision."""
    slices = {"libx264": b"[\x01\x21\x41\x61\x25\x45\x65]", "libx265": b"[\0-\x3f]", "mpeg2video": b"\1"}
    if unit.startswith(b"\0\0\1\x7c"):
        return packet + unit
    at = re.search(b"\0\0\1" + slices[codec], packet).start()
    return packet[:at] + unit + packet[at:]


def clip(path, codec, unit, first=0, last=99, count=8):
    """A clip in a transport stream, with a unit in its pictures from ``first`` to ``last``, in the order of coding."""
    options = {"bf": "0", "g": "4"} if codec != "libx265" else {"x265-params": "log-level=none:bframes=0:keyint=4"}
    plain = write(path.with_name("plain.ts"), panning(count, 64, 64), codec=codec, options=options)
    with av.open(str(plain)) as given, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(given.streams.video[0], opaque=True)
        for n, packet in enumerate(p for p in given.demux() if p.size):
            data = bytes(packet)
            changed = av.Packet(coded(codec, data, unit) if first <= n <= last else data)
            changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
            changed.is_keyframe, changed.stream = packet.is_keyframe, stream
            out.mux(changed)
    return path


def captioned(path, **options):
    """A clip of H.264 with captions."""
    return clip(path, "libx264", sei("libx264", 4, b"\xb5\x00\x31" + CC), **options)


UNITS = {
    "captions of H.264": ("libx264", sei("libx264", 4, b"\xb5\x00\x31" + CC), CAPTIONS),
    "captions of HEVC": ("libx265", sei("libx265", 4, b"\xb5\x00\x31" + CC), CAPTIONS),
    "captions of MPEG-2": ("mpeg2video", b"\0\0\1\xb2" + CC, CAPTIONS),
    "HDR10+": ("libx265", sei("libx265", 4, PLUS), "HDR10+ metadata"),
    "HDR Vivid": ("libx265", sei("libx265", 4, VIVID), "HDR Vivid metadata"),
    "Dolby Vision": ("libx265", b"\0\0\1\x7c\x01\x19\x10" + b"\x11" * 20 + b"\x80", "Dolby Vision metadata"),
    "ambient light": (
        "libx265",
        sei("libx265", 148, bytes.fromhex("000f4240 3d13 4042")),
        "ambient viewing environment",
    ),
    "AFD": ("libx264", sei("libx264", 4, b"\xb5\x00\x31DTG1\x41\xfa"), "active format description"),
}


@pytest.mark.parametrize("kind", UNITS)
@pytest.mark.parametrize("first", [0, LATE])
def test_what_no_output_keeps_is_named(tmp_path, kind, first):
    codec, unit, name = UNITS[kind]
    source = clip(tmp_path / "in.ts", codec, unit, first)
    done, notes = run(source, tmp_path / "out.mkv")
    assert done.frames_in == 8
    assert done.left_out == (name,)
    late = f"left out: {name}, which the frame at {first / 10:.3f} s has"
    assert [note for note in notes if name in note] == [late if first else f"left out: {name}"]


def test_each_is_named_by_itself(tmp_path):
    units = [UNITS["captions of HEVC"], UNITS["HDR10+"]]
    source = clip(tmp_path / "in.ts", "libx265", b"".join(unit for _, unit, _ in units), LATE)
    done, notes = run(source, tmp_path / "out.mkv")
    assert sorted(done.left_out) == sorted(name for _, _, name in units)
    assert sum("left out" in note for note in notes) == 2


def test_it_is_in_the_report_and_left_out_of_images_too(tmp_path):
    source = captioned(tmp_path / "in.ts", first=LATE)
    done, _ = run(source, tmp_path / "out" / "%04d.png")
    assert done.left_out == (CAPTIONS,)
    assert report.fidelity(done).endswith(f"; not kept: {CAPTIONS}")
    (job,) = json.loads(report.as_json([queue.Entry(queue.Pair("in.ts", "out"), queue.DONE, done)]))["jobs"]
    assert job["left_out"] == [CAPTIONS]


def test_a_part_without_it_does_not_name_it(tmp_path):
    source = captioned(tmp_path / "in.ts", first=LATE)
    done, notes = run(source, tmp_path / "out.mkv", end=(LATE - 1) / 10)
    assert done.left_out == ()
    assert not [note for note in notes if CAPTIONS in note]
    done, notes = run(source, tmp_path / "later.mkv", start=(LATE + 1) / 10)
    assert done.left_out == (CAPTIONS,)
    assert [note for note in notes if CAPTIONS in note] == [
        f"left out: {CAPTIONS}, which the frame at {(LATE + 1) / 10:.3f} s has"
    ]


def test_a_run_that_goes_on_names_what_lies_before(tmp_path):
    source = captioned(tmp_path / "in.ts", first=LATE, last=LATE, count=14)
    done = [0]
    with pytest.raises(Cancelled):
        run(
            source, tmp_path / "out.mkv", segment=2,
            progress=lambda n, _: done.__setitem__(0, n), cancel=lambda: done[0] >= LATE + 5,
        )  # fmt: skip
    summary, notes = run(source, tmp_path / "out.mkv", segment=2)
    assert summary.resumed == LATE + 5
    assert summary.left_out == (CAPTIONS,)
    assert not [note for note in notes if CAPTIONS in note]  # the first run said so


def test_the_first_half_of_a_run_names_what_follows(tmp_path):
    source = captioned(tmp_path / "in.ts", first=LATE + 5, last=LATE + 5, count=14)
    done = [0]
    with pytest.raises(Cancelled):
        run(
            source, tmp_path / "out.mkv", segment=2,
            progress=lambda n, _: done.__setitem__(0, n), cancel=lambda: done[0] >= 4,
        )  # fmt: skip
    assert run(source, tmp_path / "out.mkv", segment=2)[0].left_out == (CAPTIONS,)


@pytest.mark.parametrize("segment", [1, 2, 5])
def test_segments_made_apart_name_it(tmp_path, segment):
    source = captioned(tmp_path / "in.ts", first=LATE, last=LATE)
    assert apart(source, tmp_path / "out.mkv", space=1, time=3, segment=segment).left_out == (CAPTIONS,)


def boxed(path, outer, box):
    """The MP4 file with a box at the end of the video's sample description; its own description is at its end."""
    data = path.read_bytes()
    at, end, found = 0, len(data), []
    for name, fields in [
        (b"moov", 0),
        (b"trak", 0),
        (b"mdia", 0),
        (b"minf", 0),
        (b"stbl", 0),
        (b"stsd", 8),
        (outer, 0),
    ]:
        while data[at + 4 : at + 8] != name:
            at += struct.unpack(">I", data[at : at + 4])[0]
        size = struct.unpack(">I", data[at : at + 4])[0]
        found.append((at, size))
        end = at + size
        at += 8 + fields
    out = bytearray(data)
    for at, size in found:
        out[at : at + 4] = struct.pack(">I", size + len(box))
    out[end:end] = box
    path.write_bytes(out)
    return path


def box(name, *parts):
    """A box of MP4."""
    data = b"".join(parts)
    return struct.pack(">I4s", 8 + len(data), name) + data


def dolby(profile, base):
    """The box that says of a stream that it is Dolby Vision."""
    return box(b"dvvC", struct.pack(">HHB", 1 << 8, profile << 9 | 6 << 3 | 5, base << 4), bytes(19))


@pytest.mark.parametrize(("profile", "base"), [(8, 1), (5, 0)])
def test_dolby_vision_that_the_file_alone_says_is_named(tmp_path, profile, base):
    path = write(tmp_path / "in.mp4", panning(3, 64, 64), codec="libx265", options={"tag": "hev1"})
    done, notes = run(boxed(path, b"hev1", dolby(profile, base)), tmp_path / "out.mp4", codec="libx264")
    assert done.left_out == ("Dolby Vision metadata",)
    assert "left out: Dolby Vision metadata" in notes
    assert any("profile 5" in note and "wrong" in note for note in notes) == (profile == 5)


def test_spherical_video_is_named(tmp_path):
    path = write(tmp_path / "in.mp4", panning(3, 64, 64))
    projection = box(b"proj", box(b"prhd", bytes(16)), box(b"equi", bytes(20)))
    boxed(path, b"avc1", box(b"sv3d", box(b"svhd", bytes(4), b"made\0"), projection))
    assert run(path, tmp_path / "out.mp4")[0].left_out == ("spherical projection",)


@pytest.mark.parametrize(("mode", "names"), [(2, ("stereo 3D arrangement",)), (0, ())])
def test_stereo_3d_is_named(tmp_path, mode, names):
    path = write(tmp_path / "in.mp4", panning(3, 64, 64))
    boxed(path, b"avc1", box(b"st3d", bytes([0, 0, 0, 0, mode])))
    assert run(path, tmp_path / "out.mp4")[0].left_out == names


def motion_jpeg(path, **more):
    """Motion JPEG whose pictures have EXIF, which PyAV does not know."""
    exif = Image.Exif()
    exif[0x010E] = "a camera's"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuvj420p"
        for n, picture in enumerate(panning(5)):
            file = path.with_suffix(".jpg")
            Image.fromarray(picture).save(file, exif=exif, **more)
            packet = av.Packet(file.read_bytes())
            packet.pts = packet.dts = n
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 10), stream, True
            out.mux(packet)
    return path


def test_side_data_that_pyav_does_not_know_hides_no_other(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source = motion_jpeg(tmp_path / "in.avi", icc_profile=profile)
    frame = read(source)[0]
    with pytest.raises(ValueError, match="not a valid Type"):
        _ = frame.side_data  # otherwise `listed` needs no second way
    assert [data.type.name for data in side_data.listed(frame)] == ["ICC_PROFILE"]
    assert video_tags.profile(frame) == profile
    done, _ = run(source, tmp_path / "out.mkv", codec="ffv1")
    assert (done.frames_in, done.left_out) == (5, ("ICC profile",))
