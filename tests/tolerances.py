"""Every numerical tolerance of the tests, in one place."""

import torch

# Largest absolute error against the published network's stored outputs. They are float32, which bounds the second.
GOLDEN = {torch.float32: 1e-4, torch.float64: 1e-6}

# The same with every op on the triton backend, in float32.
GOLDEN_TRITON = 2e-4

# Largest relative error of a gradient against the stored one: max |a - b| / max |b|.
GOLDEN_GRADIENT = {torch.float32: 1e-3, torch.float64: 1e-6}

# Largest relative error of an op against the reference in float64.
OP = {torch.float32: 2e-5, torch.float64: 1e-12, torch.bfloat16: 2e-2, torch.float16: 3e-3}

# Largest relative error of the Triton kernels of networks against the reference in float64 on the same numbers. With
# 16-bit operands every layer's activations are rounded.
TRITON = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}

# The same where the operands of float32 products are rounded to TF32: 10 bits of fraction.
TF32 = 2e-3

# Largest absolute error of the query's CUDA kernels against the published network's stored colours, by operands; of
# flow, relative to the largest.
GOLDEN_QUERY = {"float32": 2e-4, "tf32": 1e-2, "float16": 1e-2, "bfloat16": 8e-2}

# Largest relative error of an op's gradients on the triton backend against the reference in float64.
OP_GRADIENT = {torch.float32: 2e-5, torch.bfloat16: 4e-2, torch.float16: 6e-3}

# Largest absolute error of the kernels' sine and cosine for |omega z| up to 1e4.
SINE = 2e-6

# Largest relative error of the encoder and its gradients against the published form, both in float64.
ENCODER = 1e-10

# Largest error, in pixels, of the estimated motion of a texture that moves as a whole.
MOTION_PRIOR = 0.05

# Lowest PSNR, in dB against their range, of the encoder's features under bfloat16 autocast on the golden weights.
AUTOCAST_PSNR = 58

# Largest absolute error of a MATLAB-like resize against the stored one, which is float32.
RESIZE = 1e-4

# Relative error of a loss against the stored one, whose Laplacian kernel was float32.
LOSS = 1e-6
# Largest absolute errors of measured PSNR (dB) and SSIM, which are computed in float32, against float64.
PSNR = 1e-3
SSIM = 1e-5


def relative_error(actual, expected):
    """max |actual - expected| / max |expected|; NaN in `actual` gives NaN, which passes no bound."""
    actual, expected = actual.double(), expected.double()
    if actual.shape != expected.shape:
        raise AssertionError(f"shapes differ: {list(actual.shape)}, expected {list(expected.shape)}")
    if expected.numel() == 0:
        return 0.0
    return ((actual - expected).abs().max() / expected.abs().max().clamp(min=1e-30)).item()


# Largest absolute error of an exported float32 network against the engine, in ONNX Runtime and in OpenVINO.
EXPORT, OPENVINO = 1e-4, 1e-3

# Lowest PSNR, in dB of a range of 1, of an exported float16 network.
EXPORT_FLOAT16_PSNR = 50
