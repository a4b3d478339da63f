"""Scenes that fade and dissolve."""

import numpy as np
import torch

from vinr_engine.training import photographs, procedural
from vinr_engine.training.procedural import STEADY, Scene, _light


def lights(count):
    return [_light(np.random.default_rng(k)) for k in range(count)]


def test_scenes_fade_to_black_and_to_white_and_back():
    plain = [light for light in lights(400) if 0 in light.gain]
    ends = {(light.gain.index(0), light.offset[light.gain.index(0)]) for light in plain}
    assert ends == {(0, 0), (0, 1), (1, 0), (1, 1)}
    steady = sum(light == STEADY for light in lights(400))
    assert 220 < steady < 340


def test_a_fade_is_linear_in_time():
    picture = torch.rand(3, 5, 5)
    for light in lights(60):
        first, middle, last = (light.at(t, picture) for t in (0.0, 0.5, 1.0))
        inside = (first > 0) & (first < 1) & (last > 0) & (last < 1)
        torch.testing.assert_close(middle[inside], ((first + last) / 2)[inside])
        assert 0 <= middle.min() <= middle.max() <= 1


def test_a_dissolve_keeps_the_flow_of_what_it_leaves(monkeypatch):
    names = photographs.named("held_out")
    monkeypatch.setattr(procedural, "VEILED", 1)
    veiled = Scene(np.random.default_rng(5), 32, names, largest=6)
    assert veiled.veil is not None
    picture, flow = veiled.frame_and_flow(0.25)
    veiled.veil = None
    bare, bare_flow = veiled.frame_and_flow(0.25)
    torch.testing.assert_close(flow, bare_flow)
    assert (picture - bare).abs().max() > 0.05
