"""Scenes that fade and dissolve, and what moves in them."""

from types import SimpleNamespace

import numpy as np
import torch

from vinr_engine.training import drawings, photographs, procedural
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


def test_a_box_is_a_rectangle_where_it_is_half_way(monkeypatch):
    monkeypatch.setattr(procedural, "OUTLINES", {"box": 1.0})
    scene = Scene(np.random.default_rng(1), 64, photographs.named("held_out"), largest=20)
    boxes = [layer for layer in scene.layers if not layer.background]
    assert boxes
    for box in boxes:
        centre = box.motion.to_scene(box.place, 0.5)
        assert (centre.abs() <= 0.45 * 64 + 1e-3).all()
        corner = box.place + box.sides * torch.tensor([1.0, -1.0])
        points = torch.stack([(corner + box.place) / 2, corner + 3 * box.softness])
        inside, outside = box.alpha(points[None])[0]
        assert inside == 1
        assert outside == 0


def test_some_motions_are_fast_and_most_are_not():
    drawn = torch.tensor([procedural._magnitude(np.random.default_rng(k), 30) for k in range(2000)])
    assert 0 <= drawn.min() <= drawn.max() <= 30
    assert drawn.median() < 7.5
    assert (drawn > 20).float().mean() > 0.1


def test_layers_of_little_contrast(monkeypatch):
    names = photographs.named("held_out")
    spread = {}
    for share in (0.0, 1.0):
        monkeypatch.setattr(procedural, "PLAIN", share)
        scenes = [Scene(np.random.default_rng(k), 32, names) for k in range(8)]
        spread[share] = torch.stack([scene.layers[0].texture.std((1, 2)).mean() for scene in scenes]).mean()
    assert spread[1.0] < 0.4 * spread[0.0]


def test_patterns_move_by_less_than_half_their_period(monkeypatch):
    periods = []

    def pattern(rng, side):
        image, period = drawings.pattern(rng, side)
        periods.append(period)
        return image, period

    monkeypatch.setattr(procedural, "REPEATED", 1.0)
    monkeypatch.setattr(procedural, "VEILED", 0.0)
    monkeypatch.setattr(procedural, "drawings", SimpleNamespace(pattern=pattern))
    scenes = [Scene(np.random.default_rng(k), 32, photographs.named("held_out"), largest=60) for k in range(20)]
    layers = [layer for scene in scenes for layer in scene.layers]
    shifts = [float(layer.motion.shift.norm()) for layer in layers]
    assert max(shifts) > 0
    assert all(shift < period / 2 for shift, period in zip(shifts, periods, strict=True))


def test_a_motion_that_is_short_enough_stays():
    motion = procedural.Motion(torch.tensor([3.0, 4.0]), (0.1, 0.2), (0.0, 0.0))
    assert motion.shortened(5.1) is motion
    torch.testing.assert_close(motion.shortened(2.5).shift, torch.tensor([1.5, 2.0]))
