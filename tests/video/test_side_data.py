"""What frames carry beside their samples."""

from fractions import Fraction

import pytest
from PIL import Image, ImageCms

from video.clips import Blend, av, panning, read
from vinr_engine.video.io import side_data, video_tags
from vinr_engine.video.render import upscale


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
    done = upscale(source, tmp_path / "out.mkv", codec="ffv1", space=1, time=1, model=Blend())
    assert (done.frames_in, done.left_out) == (5, ("ICC profile",))
