"""What the tool says of a run at its end."""

import json
from fractions import Fraction

import pytest
from PIL import Image

from video.clips import Blend
from vinr_engine.frontends import queue, report
from vinr_engine.video.io.carried import CONVERTED, COPIED, LEFT_OUT, Carried
from vinr_engine.video.io.source import Faults
from vinr_engine.video.render import upscale
from vinr_engine.video.summary import Summary

STREAMS = (
    Carried(1, "audio", "ac3", "eng", COPIED),
    Carried(2, "audio", "wmav2", "", CONVERTED, to="aac"),
    Carried(3, "subtitle", "dvd_subtitle", "jpn", LEFT_OUT, why=".mp4 cannot hold it"),
    Carried(4, "attachment", "", "", COPIED),
)


def summary(**facts):
    return Summary("o.mp4", 10, 40, (64, 48), Fraction(40), 1, seconds=2.0, weights="w", **{"repeats": 0, **facts})


@pytest.mark.parametrize(
    ("facts", "text"),
    [({}, "read 10 frames"),
     ({"faults": Faults(1, 2, 3), "repeats": 4}, "read 13 frames, 1 repaired, 2 held, 3 dropped, 4 repeated"),
     ({"streams": STREAMS}, "read 10 frames; copied: audio eng (ac3), attachment; converted: audio (wmav2 to aac); "
      "left out: subtitle jpn (dvd_subtitle)"),
     ({"kept": ("tags", "2 chapters"), "left_out": ("ICC profile",)},
      "read 10 frames; kept: tags, 2 chapters; not kept: ICC profile")],
)  # fmt: skip
def test_fidelity(facts, text):
    assert report.fidelity(summary(**facts)) == text


def test_json_has_all_of_it():
    done = summary(faults=Faults(1, 2, 3), streams=STREAMS, kept=("tags",), left_out=("ICC profile",))
    (job,) = json.loads(report.as_json([queue.Entry(queue.Pair("a.mkv", "o.mp4"), queue.DONE, done)]))["jobs"]
    assert job["faults"] == {"repaired": 1, "held": 2, "dropped": 3}
    assert (job["frames_read"], job["frames_in"], job["frames_out"], job["repeats"]) == (13, 10, 40, 0)
    assert job["streams"][1] == {
        "index": 2, "kind": "audio", "codec": "wmav2", "language": "", "became": "converted", "to": "aac", "why": "",
    }  # fmt: skip
    assert (job["kept"], job["left_out"], job["audio_streams"]) == (["tags"], ["ICC profile"], 2)


@pytest.mark.parametrize(
    ("name", "text"), [("one.png", "1 frame from 1, 128x96, "), ("folder", "1 frame from 1, 128x96, ")]
)
def test_images_have_no_rate(tmp_path, name, text):
    Image.new("RGB", (64, 48), (90, 120, 150)).save(tmp_path / "in.png")
    done = upscale(tmp_path / "in.png", tmp_path / name, space=2, model=Blend())
    assert done.rate is None
    assert text in report.as_line(queue.Entry(queue.Pair("in.png", name), queue.DONE, done))
