"""Images in: what each kind holds reaches the output, or is named."""

import struct
import zlib
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from video import pictures
from video.clips import Blend, panning, write
from vinr_engine.errors import SourceError
from vinr_engine.video.io import light
from vinr_engine.video.io.image_files import in_folder
from vinr_engine.video.io.image_reader import read
from vinr_engine.video.io.image_source import ImageSource
from vinr_engine.video.io.reading import STOP, Reading
from vinr_engine.video.io.source import Faults
from vinr_engine.video.render import upscale

DEEP = np.random.default_rng(0).integers(0, 65536, (6, 8, 4), dtype="u2")


def enlarged(src, dst, **options):
    """What is said of a job that changes no picture."""
    notes = []
    options = {"space": 1, "time": 1, "cuts": False, **options}
    done = upscale(src, dst, model=Blend(), note=notes.append, **options)
    return done, notes


def folder(path, *files):
    """A folder of files with these bytes, by name."""
    path.mkdir()
    for name, data in files:
        (path / name).write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "options"),
    [("a.png", "png", "rgb48be", {}), ("a.tif", "tiff", "rgb48le", {}), ("a.ppm", "ppm", "rgb48be", {}),
     ("b.tif", "tiff", "rgb48le", {"compression_algo": "lzw"}), ("a.dpx", "dpx", "rgb48be", {}),
     ("c.tif", "tiff", "rgb48le", {"compression_algo": "deflate"}), ("a.sgi", "sgi", "rgb48be", {}),
     ("a.jp2", "jpeg2000", "rgb48le", {"pred": "dwt53"}),
     ("a.png", "png", "gray16be", {}), ("a.tiff", "tiff", "gray16le", {})],
)  # fmt: skip
def test_sixteen_bits_are_kept(tmp_path, name, codec, pixel_format, options):
    pixels = DEEP[..., 0] if "gray" in pixel_format else DEEP[..., :3]
    source = folder(tmp_path / "in", (name, pictures.coded(codec, pixel_format, pixels, **options)))
    enlarged(source, tmp_path / "out")
    got = pictures.decoded(tmp_path / "out" / "frame_000000.png", "png")
    assert got.dtype == np.uint16
    assert (got == (pixels[..., None] if pixels.ndim == 2 else pixels)).all()


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("bits", [8, 16])
def test_transparent_pixels_are_laid_over_black_and_named(tmp_path, channels, bits):
    pixels = (DEEP >> 16 - bits).astype(f"u{bits // 8}")[..., -channels:]
    source = folder(tmp_path / "in", ("a.png", pictures.png(pixels)), ("b.png", pictures.png(pixels)))
    _, notes = enlarged(source, tmp_path / "out")
    assert [note for note in notes if "transparent" in note] == [
        f"{source}/a.png: its transparent pixels are laid over black"
    ]
    peak = 2**bits - 1
    expected = np.rint(pixels[..., :-1] * (pixels[..., -1:] / peak)) * np.ones(3)
    assert np.abs(pictures.decoded(tmp_path / "out" / "frame_000000.png", "png") - expected).max() <= 1
    opaque = pixels.copy()
    opaque[..., -1] = peak
    source = folder(tmp_path / "opaque", ("a.png", pictures.png(opaque)))
    assert enlarged(source, tmp_path / "out2")[1] == []


def test_a_colour_profile_is_kept(tmp_path):
    icc = pictures.profile()
    tagged = pictures.png(DEEP[..., :3], (b"iCCP", b"x\0\0" + zlib.compress(icc)))
    jpeg = pictures.bytes_of(Image.new("RGB", (8, 6)), "JPEG", icc_profile=icc)
    source = folder(tmp_path / "in", ("a.png", tagged), ("b.jpg", jpeg))
    assert enlarged(source, tmp_path / "out")[1] == []
    for path in (tmp_path / "out").iterdir():
        with Image.open(path) as image:
            assert image.info["icc_profile"] == icc
    (source / "c.png").write_bytes(pictures.png(DEEP[..., :3]))
    _, notes = enlarged(source, tmp_path / "out2")
    assert notes == [f"{source}/c.png: its colour profile is not the first image's, which the output has"]


def test_a_profile_of_other_channels_is_named(tmp_path):
    cmyk = pictures.bytes_of(Image.new("CMYK", (8, 6)), "JPEG", icc_profile=b"\0" * 16 + b"CMYK" + b"\0" * 200)
    _, notes = enlarged(folder(tmp_path / "in", ("a.jpg", cmyk)), tmp_path / "out")
    assert "profile, which is not one of RGB, is not applied" in notes[0]
    with Image.open(tmp_path / "out" / "frame_000000.png") as image:
        assert "icc_profile" not in image.info


@pytest.mark.parametrize(
    ("chunks", "cicp", "named"),
    [([(b"sRGB", b"\0")], None, False), ([(b"gAMA", struct.pack(">I", 45455))], None, False),
     ([(b"gAMA", struct.pack(">I", 100000))], (1, 8), False), ([(b"cICP", bytes([9, 16, 0, 1]))], (9, 16), False),
     ([(b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000))], (12, 13), False),
     ([(b"gAMA", struct.pack(">I", 60000))], None, True)],
)  # fmt: skip
def test_tags_of_colour_are_kept(tmp_path, chunks, cicp, named):
    _, notes = enlarged(folder(tmp_path / "in", ("a.png", pictures.png(DEEP[..., :3], *chunks))), tmp_path / "out")
    found = pictures.chunks((tmp_path / "out" / "frame_000000.png").read_bytes())
    assert found.get(b"cICP") == (None if cicp is None else bytes([*cicp, 0, 1]))
    assert bool(notes) == named


def test_hdr_video_gives_tagged_images(tmp_path):
    tags = {"color_primaries": 9, "color_trc": 16, "colorspace": 9, "color_range": 1}
    source = write(tmp_path / "in.mkv", panning(1), codec="libx265", pixel_format="yuv420p10le", options={}, tags=tags)
    enlarged(source, tmp_path / "out")
    found = pictures.chunks((tmp_path / "out" / "frame_000000.png").read_bytes())
    assert found[b"cICP"] == bytes([9, 16, 0, 1])


def test_linear_light_is_shown_as_srgb(tmp_path):
    linear = np.linspace(0, 1, 6 * 8 * 3, dtype="f2").reshape(6, 8, 3).astype("f4")
    source = folder(tmp_path / "in", ("a.exr", pictures.exr(linear)))
    assert enlarged(source, tmp_path / "out")[1] == []
    got = pictures.decoded(tmp_path / "out" / "frame_000000.png", "png") / 65535
    assert np.abs(got - light.srgb(linear)).max() < 1e-4
    (source / "a.exr").write_bytes(pictures.exr(linear * 3 - 1))
    _, notes = enlarged(source, tmp_path / "out2")
    assert ["light goes up to 2" in notes[0], "below 0" in notes[1]] == [True, True]


@pytest.mark.parametrize("suffix", [".heic", ".CR2", ".svg"])
def test_one_picture_that_is_not_read(tmp_path, suffix):
    (tmp_path / f"a{suffix}").write_bytes(b"x")
    with pytest.raises(SourceError, match="is a picture of a kind that is not read"):
        enlarged(tmp_path / f"a{suffix}", tmp_path / "out")


def test_every_half_float_comes_back():
    halves = np.arange(0x7C00, dtype="u2").view("f2").astype("f4")
    values = light.coded(halves)
    assert 0 <= values.min() <= values.max() <= 1
    assert (np.diff(values) > 0).all()
    assert (light.linear_of(values).astype("f2") == halves.astype("f2")).all()


@pytest.mark.parametrize("transfer", [1, 4, 5, 8, 13])
def test_curves_keep_black_and_white(transfer):
    values = np.linspace(0, 1, 256, dtype="f4")
    linear = light.linear_from(values, transfer)
    assert (linear[0], linear[-1]) == (0, 1)
    assert (np.diff(linear) > 0).all()
    if transfer == 13:
        assert np.abs(light.srgb(linear) - values).max() < 1e-6


@pytest.mark.parametrize(
    "name",
    ["a.tga", "a.bmp", "a.gif", "a.webp", "a.avif", "a.jp2", "a.qoi", "a.psd", "a.hdr", "a.pcx", "a.pam", "a.dds"],
)
def test_other_kinds_are_read(tmp_path, name):
    picture = Image.fromarray(panning(1, 16, 12)[0])
    if name == "a.psd":
        planes = picture.tobytes("raw", "R") + picture.tobytes("raw", "G") + picture.tobytes("raw", "B")
        data = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 12, 16, 8, 3) + bytes(12) + struct.pack(">H", 0) + planes
    elif name == "a.pam":
        data = pictures.coded("pam", "rgb24", np.asarray(picture))
    elif name == "a.hdr":
        frame = av_floats(np.asarray(picture) / 255)
        data = pictures.coded("hdr", "gbrpf32le", frame)
    else:
        form = {"tga": "TGA", "jp2": "JPEG2000", "qoi": "QOI"}.get(name[2:], name[2:].upper())
        data = pictures.bytes_of(picture, form, **({"lossless": True} if form == "WEBP" else {}))
    (tmp_path / name).write_bytes(data)
    found = read(tmp_path / name)
    got = found.rgb.transpose(1, 2, 0) * 255
    assert found.linear == (name == "a.hdr")
    assert np.abs(got - np.asarray(picture)).mean() < (8 if name in ("a.gif", "a.avif") else 1)


@pytest.mark.parametrize("order", ["<", ">"])
def test_floating_point_tiff_is_linear_light(tmp_path, order):
    linear = np.linspace(0, 4, 6 * 8 * 3, dtype=f"{order}f4").reshape(6, 8, 3)
    bits = 8 + linear.nbytes
    entries = [(256, 3, 1, 8), (257, 3, 1, 6), (258, 3, 3, bits), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 8),
               (277, 3, 1, 3), (278, 3, 1, 6), (279, 4, 1, linear.nbytes), (339, 3, 3, bits + 6)]  # fmt: skip
    data = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, bits + 12) + linear.tobytes()
    data += struct.pack(f"{order}6HH", 32, 32, 32, 3, 3, 3, len(entries))
    for tag, kind, count, value in entries:
        short = kind == 3 and count == 1
        data += struct.pack(f"{order}HHI{'H2x' if short else 'I'}", tag, kind, count, value)
    (tmp_path / "a.tif").write_bytes(data + bytes(4))
    found = read(tmp_path / "a.tif")
    assert found.linear
    assert (found.rgb.transpose(1, 2, 0) == linear).all()


def av_floats(pixels):
    """A frame of floats of [h, w, 3]."""
    frame = pictures.av.VideoFrame(pixels.shape[1], pixels.shape[0], "gbrpf32le")
    for plane, n in zip(frame.planes, (1, 2, 0), strict=True):
        rows = np.zeros((plane.height, plane.line_size // 4), "<f4")
        rows[:, : plane.width] = pixels[..., n]
        plane.update(rows)
    return frame


def image(value=0, size=(8, 6)):
    return pictures.bytes_of(Image.new("RGB", size, (value, value, value)), "PNG")


def test_all_pictures_of_a_folder_are_read_or_named(tmp_path):
    exr = pictures.exr(np.zeros((6, 8, 3), "f4"))
    tga = pictures.bytes_of(Image.new("RGB", (8, 6)), "TGA")
    files = [("a1.png", image()), ("a2.tga", tga), ("a3.exr", exr), ("a4.PNG", image()), (".hidden.png", image())]
    others = [("b.heic", b"x"), ("c.cr2", b"x"), ("picture", image()), ("Thumbs.db", b"x"), ("notes.txt", b"a1.png")]
    source = folder(tmp_path / "in", *files, *others)
    (source / "sub").mkdir()
    done, notes = enlarged(source, tmp_path / "out")
    assert done.frames_in == 4
    assert notes == [
        f"{source} holds pictures of a kind or name that is not read: b.heic, c.cr2, picture",
        f"3 files and 1 folder in {source} ignored: not pictures",
        f"{source}/a3.exr: it has 16 bits a channel, the first image 8, as the output",
    ]
    for name, _ in files[:4]:
        (source / name).unlink()
    with pytest.raises(SourceError, match=r"holds pictures of a kind or name that is not read: b\.heic"):
        in_folder(source)


def test_gaps_in_a_sequence_are_named(tmp_path):
    source = folder(tmp_path / "in", *[(f"f{n}.png", image()) for n in (1, 2, 4, 8)])
    for src in (source, source / "f%d.png"):
        _, notes = enlarged(src, tmp_path / f"o{len(str(src))}")
        assert notes == [f"numbers are missing in {src}, which is read without a gap: 3, 5 to 7"]
    for n in (2, 1):
        (source / f"f{n}.png").unlink()
    assert in_folder(source).notes == ()  # every fourth


@pytest.mark.parametrize(
    "bad",
    [b"", b"\x89PNG\r\n\x1a\n", pictures.png(DEEP[..., :3])[:200], b"v/1\1" + bytes(50)],
    ids=["empty", "head", "cut", "exr"],
)
@pytest.mark.parametrize("places", [(2,), (2, 3), (0,), (4,), (0, 1, 4)])
def test_an_unreadable_image_is_held_or_left_out_and_counted(tmp_path, places, bad):
    source = folder(tmp_path / "in", *[(f"{n}.png", bad if n in places else image(n)) for n in range(5)])
    paths = in_folder(source).paths
    rate = Fraction(5)
    with pytest.raises(SourceError, match=f"unreadable image .*{places[0]}.png"):
        list(ImageSource(paths, Reading(rate, on_error=STOP)).pictures())
    first = next(n for n in range(5) if n not in places)
    for on_error in ("skip", "hold"):
        opened = ImageSource(paths, Reading(rate, on_error=on_error))
        found = list(opened.pictures())
        expected = [n for n in range(first, 5) if on_error == "hold" or n not in places]
        assert [p.time for p in found] == [Fraction(n, 5) for n in expected]
        shown = [max(m for m in range(n + 1) if m not in places) for n in expected]
        assert [round(float(p.rgb[0, 0, 0]) * 255) for p in found] == shown
        counts = sum((p.faults for p in found), Faults())
        held = sum(n > first for n in places) if on_error == "hold" else 0
        assert counts == Faults(held=held, dropped=len(places) - held)
        assert len([note for p in found for note in p.notes]) == 1
        for since in (p.time for p in found):  # as a run that is taken up enters
            rest = list(opened.pictures(since))
            assert [p.rgb.tobytes() for p in rest] == [p.rgb.tobytes() for p in found if p.time >= since]


def test_faults_of_images_are_in_the_summary(tmp_path):
    source = folder(tmp_path / "in", *[(f"{n}.png", b"" if n == 2 else image(n)) for n in range(4)])
    done, notes = enlarged(source, tmp_path / "out")
    assert (done.frames_in, done.frames_out, done.faults) == (4, 4, Faults(held=1))
    assert notes == [f"unreadable image {source}/2.png: not a readable image: the image before is repeated"]
    done, _ = enlarged(source, tmp_path / "out2", on_error="skip", time=2)
    assert (done.frames_in, done.frames_out, done.faults) == (3, 5, Faults(dropped=1))


def test_nothing_readable_is_an_error(tmp_path):
    source = folder(tmp_path / "in", ("0.png", b""), ("1.png", b""))
    for on_error in ("skip", "hold"):
        with pytest.raises(SourceError, match="unreadable image"):
            ImageSource(in_folder(source).paths, Reading(Fraction(1), on_error=on_error))


def test_another_size_is_an_error_whatever_is_asked_for(tmp_path):
    source = folder(tmp_path / "in", ("0.png", image()), ("1.png", image(size=(9, 6))))
    for on_error in ("stop", "skip", "hold"):
        with pytest.raises(SourceError, match=r"1\.png is 9x6, the images before it are 8x6"):
            list(ImageSource(in_folder(source).paths, Reading(Fraction(1), on_error=on_error)).pictures())
