"""Every bad input is one error of one line, and leaves nothing behind."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from video.clips import Blend, av, leftovers, panning, read, write
from vinr_engine.errors import Cancelled, SinkError, SourceError, UsageError, VinrError, WeightsError
from vinr_engine.video.io import packets
from vinr_engine.video.render import upscale


@pytest.fixture
def clip(tmp_path):
    return write(tmp_path / "in.mp4", panning(3))


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for n, picture in enumerate(panning(4, 20, 14)):
        Image.fromarray(picture).save(folder / f"f{n}.png")
    return folder


def refused(kind, src, dst, match, **options):
    """The call raises ``kind`` with a message of one line, does no work that stays, and leaves DST as it was."""
    dst = Path(dst)
    before = sorted(p.name for p in dst.parent.iterdir()) if dst.parent.is_dir() else None
    options = {"model": Blend(), "space": 1, "time": 2, **options}
    options = {k: v for k, v in options.items() if v is not None}
    with pytest.raises(kind, match=match) as caught:
        upscale(src, dst, **options)
    assert isinstance(caught.value, VinrError)
    assert "\n" not in str(caught.value)
    if before is not None:
        assert sorted(p.name for p in dst.parent.iterdir()) == before


def test_missing_file(tmp_path):
    refused(SourceError, tmp_path / "no.mp4", tmp_path / "o.mp4", "no such file")
    refused(SourceError, tmp_path / "no_%04d.png", tmp_path / "o.mp4", "no image matches")
    refused(SourceError, tmp_path, tmp_path / "o.mp4", "holds no images")


def test_empty_and_damaged_files(tmp_path, clip):
    (tmp_path / "empty.mp4").touch()
    refused(SourceError, tmp_path / "empty.mp4", tmp_path / "o.mp4", "is empty")
    (tmp_path / "text.mp4").write_text("this is no video\n" * 100)
    refused(SourceError, tmp_path / "text.mp4", tmp_path / "o.mp4", "not a video")
    (tmp_path / "cut.mp4").write_bytes(clip.read_bytes()[:500])
    refused(SourceError, tmp_path / "cut.mp4", tmp_path / "o.mp4", "lacks its index")


def test_audio_alone_and_no_frames(tmp_path):
    with av.open(str(tmp_path / "a.wav"), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), "i2"), "s16", "mono")
        frame.sample_rate = 8000
        stream.layout = "mono"
        out.mux(stream.encode(frame))
    refused(SourceError, tmp_path / "a.wav", tmp_path / "o.mp4", "holds no video")


def test_playlist_is_not_followed(tmp_path, clip):
    (tmp_path / "list.m3u8").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{clip}\n#EXT-X-ENDLIST\n")
    refused(SourceError, tmp_path / "list.m3u8", tmp_path / "o.mp4", "another file|not a video|cannot read")


def test_unreadable_frame_in_the_middle(tmp_path, images):
    data = (images / "f2.png").read_bytes()
    (images / "f2.png").write_bytes(data[: len(data) // 2])
    refused(SourceError, images, tmp_path / "o.mp4", "unreadable image .*f2.png", on_error="stop")
    (images / "f2.png").write_bytes(b"")
    refused(SourceError, images, tmp_path / "o", "unreadable image .*f2.png", on_error="stop")
    source = write(tmp_path / "in.mkv", panning(6), codec="mjpeg", pixel_format="yuvj420p", options={})
    with av.open(str(source)) as container:
        place, size = [(p.pos, p.size) for p in container.demux(video=0) if p.size][3]
    data = bytearray(source.read_bytes())
    data[place + 20 : place + size] = np.random.default_rng(0).bytes(size - 20)
    source.write_bytes(data)
    refused(SourceError, source, tmp_path / "o.mp4", "unreadable frame", on_error="stop")


def test_concealed_damage_is_an_error_too(tmp_path):
    # a decoder of MPEG-2 conceals what it cannot read; that of H.264 conceals it or refuses it, as the bits fall
    source = write(
        tmp_path / "in.mkv", panning(20, 96, 64), codec="mpeg2video", options={"qscale": "2", "threads": "1"}
    )
    with av.open(str(source)) as container:
        place, size = [(p.pos, p.size) for p in container.demux(video=0) if p.size][7]
    data = bytearray(source.read_bytes())
    middle = slice(place + size // 2, place + size // 2 + size // 4)
    data[middle] = bytes(b ^ 0x5A for b in data[middle])
    source.write_bytes(data)
    refused(SourceError, source, tmp_path / "o.mp4", "unreadable frame at 0.700 s: it is damaged", on_error="stop")


def test_images_of_differing_sizes(tmp_path, images):
    Image.new("RGB", (21, 14)).save(images / "f2.png")
    refused(SourceError, images, tmp_path / "o.mp4", "f2.png is 21x14, the images before it are 20x14")


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [("RGBA", (200, 100, 50, 128), (100, 50, 25)), ("L", 80, (80, 80, 80)), ("LA", (80, 0), (0, 0, 0)),
     ("I;16", 0x5050, (80, 80, 80)), ("1", 1, (255, 255, 255)), ("P", 3, None)],
)  # fmt: skip
def test_other_kinds_of_images(tmp_path, mode, colour, expected):
    folder = tmp_path / "in"
    folder.mkdir()
    image = Image.new(mode, (8, 6), colour)
    if mode == "P":
        image.putpalette([0] * 9 + [9, 8, 7])
        expected = (9, 8, 7)
    image.save(folder / "0.png")
    upscale(folder, tmp_path / "out", space=2, time=1, model=Blend())
    frame = read(tmp_path / "out" / "frame_000000.png")[0]
    assert frame.format.name.startswith("rgb48") == (mode == "I;16")
    assert tuple(frame.to_ndarray(format="rgb24")[5, 5]) == expected


def test_natural_order_and_patterns(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for n in (1, 2, 10):
        Image.new("RGB", (8, 6), (n, 0, 0)).save(folder / f"s{n}.png")
    Image.new("RGB", (9, 9)).save(folder / "s0002x.png")
    (folder / "notes.txt").touch()
    (folder / "s0002x.png").unlink()
    for source in (folder, folder / "s%d.png"):
        target = tmp_path / f"o{len(str(source))}"
        upscale(source, target, space=1, time=1, model=Blend(), cuts=False)
        reds = [Image.open(p).getpixel((0, 0))[0] for p in sorted(target.iterdir())]
        assert reds == [1, 2, 10]
    refused(UsageError, folder / "s%d_%d.png", tmp_path / "o", "one number field")


def test_images_have_a_rate(tmp_path, images):
    done = upscale(images, tmp_path / "o.mp4", space=1, time=2, model=Blend(), input_fps="12.5")
    assert done.rate == 25
    frames = read(tmp_path / "o.mp4")
    assert len(frames) == 8
    assert frames[1].time == pytest.approx(1 / 25)
    assert (frames[0].colorspace, frames[0].color_range) == (1, 1)


def test_odd_sizes(tmp_path):
    source = write(tmp_path / "in.mkv", panning(2, 33, 17), codec="ffv1", pixel_format="yuv444p", options={})
    done = upscale(source, tmp_path / "o.mkv", space=1, time=1, model=Blend(), codec="ffv1")
    assert done.size == (33, 17)
    images = tmp_path / "images"
    images.mkdir()
    Image.new("RGB", (17, 5)).save(images / "0.png")
    assert upscale(images, tmp_path / "o.mp4", space=1, time=1, model=Blend()).size == (18, 6)
    assert upscale(images, tmp_path / "o", space=1, time=1, model=Blend()).size == (17, 5)
    refused(UsageError, images, tmp_path / "p.mp4", "even sides, such as 34x12", space=None, size="33x11")


@pytest.mark.parametrize(
    ("options", "match"),
    [({"space": 0}, "--space"), ({"space": -1}, "--space"), ({"space": float("nan")}, "--space"),
     ({"space": float("inf")}, "--space"), ({"space": 1e9}, "--space"), ({"space": 0.001}, "--space"),
     ({"space": 2, "size": "9x9"}, "exclude"), ({"time": 0}, "--time"), ({"time": 1.5}, "--time"),
     ({"time": 2, "fps": 60}, "exclude"), ({"time": None, "fps": "0"}, "--fps"), ({"time": None, "fps": "x"}, "--fps"),
     ({"codec": "nonsense"}, "libx264"), ({"codec": "qtrle"}, "does not go into .mp4"),
     ({"codec": "aac"}, "no such video"),
     ({"crf": 99}, "--crf"), ({"codec": "mpeg4", "crf": 20}, "--crf does not exist"), ({"device": "tpu"}, "--device"),
     ({"device": "cuda:99"}, "--device"), ({"dtype": "int8"}, "--dtype"),
     ({"device": "cpu", "dtype": "float16"}, "--dtype"), ({"cuda_graphs": True}, "--cuda-graphs needs a CUDA device"),
     ({"start": "x"}, "--start"), ({"start": 2, "end": 1}, "--end"), ({"end": 0}, "--end"),
     ({"input_fps": 5}, "--input-fps"), ({"on_error": "weep"}, "--on-error"), ({"backend": "magic"}, "--backend"),
     ({"backend": "cuda"}, "--backend cuda cannot run here"),
     ({"untrained": True}, "exclude"), ({"weights": "x", "untrained": True, "model": None}, "exclude"),
     ({"space": None, "size": "99999x10"}, "--size")],
)  # fmt: skip
def test_wrong_arguments(tmp_path, clip, options, match):
    refused(UsageError, clip, tmp_path / "o.mp4", match, **options)


def test_start_after_the_end(tmp_path, clip, images):
    refused(SourceError, clip, tmp_path / "o.mp4", "range; its last is at 0.200 s", start=1)
    refused(SourceError, clip, tmp_path / "o.mp4", "range", start=100)
    refused(SourceError, images, tmp_path / "o.mp4", "range", start=100)


def test_part_between_two_frames(tmp_path, clip, images):
    refused(SourceError, clip, tmp_path / "o.mp4", "no frame .* lies in the chosen range", start="0.11", end="0.15")
    refused(SourceError, images, tmp_path / "o.mp4", "no image lies in the chosen range", start="0.05", end="0.07")


def test_weights(tmp_path, clip):
    refused(WeightsError, clip, tmp_path / "o.mp4", "no such weights", model=None, weights=tmp_path / "no.pth")
    (tmp_path / "bad.pth").write_bytes(b"nothing")
    refused(WeightsError, clip, tmp_path / "o.mp4", "bad.pth", model=None, weights=tmp_path / "bad.pth")


def test_existing_output(tmp_path, clip):
    target = tmp_path / "o.mp4"
    target.write_text("precious")
    refused(SinkError, clip, target, "exists")
    assert target.read_text() == "precious"
    upscale(clip, target, space=1, time=1, model=Blend(), overwrite=True)
    assert len(read(target)) == 3


def test_output_folder_is_never_emptied_of_foreign_files(tmp_path, clip):
    target = tmp_path / "o"
    target.mkdir()
    upscale(clip, target, space=1, time=1, model=Blend())
    refused(SinkError, clip, target, "--overwrite")
    upscale(clip, target, space=1, time=2, model=Blend(), overwrite=True)
    assert len(list(target.iterdir())) == 5
    assert leftovers(tmp_path) == []
    (target / "thesis.txt").write_text("precious")
    refused(SinkError, clip, target, "thesis.txt", overwrite=True)
    assert (target / "thesis.txt").read_text() == "precious"


def test_output_is_the_input(tmp_path, clip, images):
    refused(UsageError, clip, clip, "is the input", overwrite=True)
    refused(UsageError, images, images, "is the input", overwrite=True)
    refused(UsageError, images / "f%d.png", images, "is the input", overwrite=True)


def test_output_places(tmp_path, clip):
    refused(UsageError, clip, tmp_path / "o.flv", ".mp4, .mkv, .webm, .mov, .m4v or .avi")
    refused(SinkError, clip, tmp_path / "no" / "o.mp4", "does not exist")
    (tmp_path / "o").write_text("a file")
    refused(SinkError, clip, tmp_path / "o", "not a folder")
    os.symlink(tmp_path / "elsewhere.mp4", tmp_path / "link.mp4")
    refused(SinkError, clip, tmp_path / "link.mp4", "symbolic link", overwrite=True)


@pytest.mark.parametrize("target", ["o.mp4", "o"])
def test_full_disk(tmp_path, clip, monkeypatch, target):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(packets.PacketWriter, "write", full)
    refused(SinkError, clip, tmp_path / target, "No space left on device")


def test_cancel(tmp_path, clip):
    calls = []

    def cancel():
        calls.append(1)
        return len(calls) > 2

    refused(Cancelled, clip, tmp_path / "o", "interrupted; nothing was written", cancel=lambda: True)
    with pytest.raises(Cancelled, match="2 of about 24 output frames are kept, and the same command goes on"):
        upscale(clip, tmp_path / "o.mp4", space=1, model=Blend(), cancel=cancel)
    assert len(calls) == 3
    assert leftovers(tmp_path) == [".o.mp4.vinr"]


def test_output_that_is_not_finite(tmp_path, clip):
    class Broken(Blend):
        def query(self, *args, **kwargs):
            return super().query(*args, **kwargs) * float("nan")

    refused(VinrError, clip, tmp_path / "o.mp4", "not finite", model=Broken())


def test_output_that_is_not_finite_before_it_is_clamped(tmp_path, clip):
    class Broken(Blend):
        def query(self, *args, **kwargs):
            return super().query(*args, **kwargs) + float("inf")

    refused(VinrError, clip, tmp_path / "o.mp4", "not finite", model=Broken())
