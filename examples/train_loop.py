"""Trains a small VideoINR for a few steps with a loop of its own: the fused ops have gradients like any torch op.

    python examples/train_loop.py [STEPS]

`vinr train` does it properly: data, schedule, states, several processes.
"""

import sys

import torch

import vinr_engine as vinr


def main(steps: int) -> None:
    torch.manual_seed(0)
    model = vinr.VideoINR(
        nf=16, groups=2, front_blocks=1, back_blocks=1, hr_features=16, feat_hidden=[16], flow_hidden=[16],
        encode_hidden=[16, 16], recurrent=False, residual=True,
    )  # fmt: skip
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    scene = torch.rand(1, 3, 32, 48)
    true = torch.stack([scene.roll(shift, -1) for shift in (0, 2, 4)], 1)  # [1, 3, 3, 32, 48]: at t = 0, 1/2, 1
    frames = torch.nn.functional.avg_pool2d(true[:, ::2].flatten(0, 1), 2).unflatten(0, (1, 2))
    for step in range(steps):
        pictures = model(frames, [0.0, 0.5, 1.0], (32, 48))
        loss = (pictures - true).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        print(f"step {step + 1}: loss {loss.item():.4f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
