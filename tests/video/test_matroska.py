"""The shape of pixels in files of Matroska."""

from fractions import Fraction

import pytest

from video.clips import av, panning, write
from vinr_engine.video.io import matroska


@pytest.mark.parametrize(
    ("aspect", "there"), [(Fraction(4, 3), True), (Fraction(2, 3), True), (Fraction(1 << 20), False)]
)
def test_a_shape_is_set_or_refused(tmp_path, aspect, there):
    path = write(tmp_path / "in.mkv", panning(2, 96, 64))
    before = path.read_bytes()
    assert matroska.set_shape(path, 96, 64, aspect) == there
    with av.open(str(path)) as found:
        assert (found.streams.video[0].sample_aspect_ratio or 1) == (aspect if there else 1)
        assert len(list(found.decode(video=0))) == 2
    assert there or path.read_bytes() == before
