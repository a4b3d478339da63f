"""Decodes frames between two frames, at a size that is no multiple of theirs, with the package's own weights.

    python examples/query.py

The pair is encoded once; each time and size costs one query.
"""

import torch
import torch.nn.functional as F

import vinr_engine as vinr


def moving_square(position: int, size: tuple[int, int] = (64, 96)) -> torch.Tensor:
    """A picture [3, h, w] in [0, 1]: a bright square on a dark gradient."""
    h, w = size
    picture = torch.linspace(0.1, 0.4, w).expand(3, h, w).clone()
    picture[:, 20:44, position : position + 24] = torch.tensor([0.9, 0.7, 0.2])[:, None, None]
    return picture


def main() -> None:
    model = vinr.load_network()
    frames = torch.stack([moving_square(20), moving_square(28)])[None]  # [1, 2, 3, h, w]
    with torch.inference_mode():
        features = model.encode(frames)
        for size in ((128, 192), (150, 230)):
            pictures = model.query(features, frames, [0.0, 0.5, 1.0], size)  # [1, 3, 3, *size]
            true = F.interpolate(moving_square(24)[None], size, mode="bicubic", antialias=True)
            error = (pictures[:, 1] - true).abs().mean()
            print(f"{size[1]}x{size[0]}: {list(pictures.shape)}, halfway {error:.3f} from the true picture on average")


if __name__ == "__main__":
    main()
