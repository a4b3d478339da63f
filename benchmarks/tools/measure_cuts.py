"""Precision and recall of the scene cut rule on generated camera moves over real photographs.

Pairs within one photograph move the camera (up to 14 % of the width a frame), zoom, turn, change brightness, flash, add
noise, blur, or move an object in front; pairs that are cuts show two photographs. With --fit a logistic regression is
fitted with one photograph left out at a time, which is where the rule's weights come from.
Needs scikit-image and scikit-learn, for their bundled pictures.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image
from skimage import data
from sklearn.datasets import load_sample_image
from sklearn.linear_model import LogisticRegression

from vinr_engine.video import cuts

Photo = npt.NDArray[np.uint8]
Picture = npt.NDArray[np.float32]
View = tuple[float, float, float, float]
WIDTH, HEIGHT = 160, 96
SKIMAGE = (
    "astronaut", "camera", "chelsea", "coffee", "rocket", "hubble_deep_field", "coins", "retina", "moon", "brick",
    "grass", "gravel", "immunohistochemistry",
)  # fmt: skip
SAME = ("still", "pan", "zoom", "turn", "all", "brightness", "flash", "noise", "object", "blur")


def photographs() -> dict[str, Photo]:
    """The pictures by name, uint8 [h, w, 3]."""
    found = {name: getattr(data, name)() for name in SKIMAGE}
    found["motorcycle"] = data.stereo_motorcycle()[0]
    for name in ("china", "flower"):
        found[name] = load_sample_image(f"{name}.jpg")
    return {k: np.stack([v] * 3, -1) if v.ndim == 2 else v[..., :3] for k, v in found.items()}


class Generator:
    """Random pairs of neighbouring frames."""

    def __init__(self, photos: dict[str, Photo], seed: int) -> None:
        self.photos = photos
        self.names = list(photos)
        self.rng = np.random.default_rng(seed)

    def _pick(self, other: str | None = None) -> str:
        names = [name for name in self.names if name != other]
        return names[self.rng.integers(len(names))]

    def _place(self, photo: Photo) -> View:
        """A random view: centre x, y, photo pixels a frame pixel, angle."""
        h, w = photo.shape[:2]
        zoom = min(w / WIDTH, h / HEIGHT) * self.rng.uniform(0.45, 0.75)
        mx, my = zoom * WIDTH * 0.62, zoom * HEIGHT * 0.62
        x, y = self.rng.uniform(mx, max(mx, w - mx)), self.rng.uniform(my, max(my, h - my))
        return x, y, zoom, self.rng.uniform(-0.1, 0.1)

    def _view(self, photo: Photo, view: View) -> Picture:
        x, y, zoom, angle = view
        c, s = np.cos(angle) * zoom, np.sin(angle) * zoom
        matrix = (c, -s, x - (c * WIDTH - s * HEIGHT) / 2, s, c, y - (s * WIDTH + c * HEIGHT) / 2)
        shown = Image.fromarray(photo).transform(
            (WIDTH, HEIGHT), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
        )
        return np.asarray(shown).astype(np.float32) / 255

    def _move(self, view: View, pan: bool = False, zoom: bool = False, turn: bool = False) -> View:
        x, y, size, angle = view
        if pan:
            towards, far = self.rng.uniform(0, 2 * np.pi), self.rng.uniform(0.02, 0.14) * WIDTH * size
            x, y = x + far * np.cos(towards), y + far * np.sin(towards) * 0.6
        if zoom:
            size *= self.rng.uniform(0.92, 1.09)
        if turn:
            angle += self.rng.uniform(-0.12, 0.12)
        return x, y, size, angle

    def _noise(self, picture: Picture, sigma: float) -> Picture:
        return np.clip(picture + self.rng.normal(0, sigma, picture.shape), 0, 1).astype(np.float32)

    def _object(self, first: Picture, second: Picture) -> None:
        """Lay a piece of another photo over both, moved by up to a tenth of the width."""
        side = int(self.rng.integers(30, 80))
        photo = Image.fromarray(self.photos[self._pick()]).resize((side, side))
        piece = np.asarray(photo).astype(np.float32) / 255
        for picture, moved in ((first, 0), (second, int(self.rng.integers(-16, 17)))):
            left, top = (WIDTH - side) // 2 + moved, (HEIGHT - side) // 2
            picture[top : top + side, left : left + side] = piece

    def cut(self) -> tuple[Picture, Picture, str]:
        """Two photographs, in a third of the cases with noise."""
        name = self._pick()
        other = self._pick(name)
        first = self._view(self.photos[name], self._place(self.photos[name]))
        second = self._view(self.photos[other], self._place(self.photos[other]))
        if self.rng.uniform() < 0.3:
            first, second = self._noise(first, 0.04), self._noise(second, 0.04)
        return first, second, name

    def same(self, kind: str) -> tuple[Picture, Picture, str]:
        """Two frames of one scene."""
        name = self._pick()
        photo = self.photos[name]
        view = self._place(photo)
        first = self._view(photo, view)
        moves: dict[str, Callable[[], View]] = {
            "still": lambda: view,
            "flash": lambda: view,
            "zoom": lambda: self._move(view, zoom=True),
            "turn": lambda: self._move(view, turn=True),
            "all": lambda: self._move(view, True, True, True),
        }
        after = moves.get(kind, lambda: self._move(view, pan=True))()
        second = self._view(photo, after)
        if kind == "brightness":
            second = np.clip(second * self.rng.uniform(0.55, 1.6) + self.rng.uniform(-0.05, 0.05), 0, 1)
        elif kind == "flash":
            second = np.clip(second * self.rng.uniform(0.3, 0.8) + self.rng.uniform(0.2, 0.65), 0, 1)
        elif kind == "noise":
            first, second = self._noise(first, 0.08), self._noise(second, 0.08)
        elif kind == "object":
            self._object(first, second)
        elif kind == "blur":
            dx, dy = after[0] - view[0], after[1] - view[1]
            along = [(view[0] + dx * t, view[1] + dy * t, *view[2:]) for t in np.linspace(0.6, 1.4, 7)]
            second = np.mean([self._view(photo, v) for v in along], 0)
        return first, second, name


def main() -> None:
    """Print false alarms by kind of pair, then precision and recall."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=60, help="pairs of each kind in a scene; seven times as many cuts")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--fit", action="store_true", help="fit the weights anew, one photograph left out at a time")
    options = parser.parse_args()
    generator = Generator(photographs(), options.seed)
    rows, kinds, names = [], [], []
    for kind in (*SAME, "cut"):
        for _ in range(options.pairs * (7 if kind == "cut" else 1)):
            first, second, name = generator.cut() if kind == "cut" else generator.same(kind)
            rows.append(cuts.features(first.transpose(2, 0, 1), second.transpose(2, 0, 1)))
            kinds.append(kind)
            names.append(name)
    measured, kind_of, name_of = np.array(rows), np.array(kinds), np.array(names)
    truth = kind_of == "cut"
    score = measured @ np.array(cuts.WEIGHTS) - cuts.THRESHOLD
    for kind in SAME:
        print(f"{kind:12}{int((score[kind_of == kind] > 0).sum()):4} false cuts of {int((kind_of == kind).sum())}")
    report("rule", score, truth)
    if options.fit:
        left_out = np.zeros(len(truth))
        for name in generator.names:
            test = name_of == name
            model = LogisticRegression(C=3).fit(measured[~test], truth[~test])
            left_out[test] = model.decision_function(measured[test])
        report("fitted, one photograph left out", left_out, truth)
        fitted = LogisticRegression(C=3).fit(measured, truth)
        print("weights", fitted.coef_.round(2), "threshold", -fitted.intercept_.round(2))


def report(label: str, score: npt.NDArray[np.float64], truth: npt.NDArray[np.bool_]) -> None:
    """Precision and recall at score 0."""
    found = score > 0
    hits = int((found & truth).sum())
    print(f"{label}: precision {hits / max(1, found.sum()):.3f}, recall {hits / truth.sum():.3f}, {len(truth)} pairs")


if __name__ == "__main__":
    main()
