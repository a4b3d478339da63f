"""Every numerical tolerance of tests and benchmarks, in one place."""

import torch

# Largest absolute error against the published network's stored outputs. They are float32, which bounds the second.
GOLDEN = {torch.float32: 1e-4, torch.float64: 1e-6}

# The same with every op on the triton backend, in float32.
GOLDEN_TRITON = 2e-4

# Largest relative error of a gradient against the stored one: max |a - b| / max |b|.
GOLDEN_GRADIENT = {torch.float32: 1e-3, torch.float64: 1e-6}

# Largest absolute error of LIIF's query on published weights in bfloat16, of colours in [-1, 1].
LIIF_BFLOAT16 = 4e-2

# Largest absolute error of LTE's query against the published one's stored colours, and relative error of its gradients:
# in float32 a sum that is nearly zero may fall on the other side of a ReLU.
LTE = {torch.float32: 1e-4, torch.float64: 1e-9}
LTE_GRADIENT = {torch.float32: 5e-3, torch.float64: 1e-9}

# Largest relative error of an op against the reference in float64.
OP = {torch.float32: 2e-5, torch.float64: 1e-12, torch.bfloat16: 2e-2, torch.float16: 3e-3}

# Largest relative error of a 3x3 convolution by Winograd's algorithm with operands rounded to bfloat16.
WINOGRAD_BFLOAT16 = 5e-2

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


def _named(by_dtype: dict[torch.dtype, float], tf32: float) -> dict[str, float]:
    """By the names of the GPU benchmark's precisions."""
    names = {str(dtype).removeprefix("torch."): bound for dtype, bound in by_dtype.items()}
    return {"tf32": tf32} | {name: names[name] for name in ("float32", "float16", "bfloat16")}


# Largest relative error of each case of the GPU benchmark, of all its results, against the reference in float64 on the
# same inputs. "default" is float32 with torch's switches as they come.
_NETWORK = {"float32": 2e-3, "tf32": 2e-2, "default": 2e-2, "float16": 2e-2, "bfloat16": 1e-1}
GPU_CASE = {
    "deform_conv2d": _named(OP, TF32),
    "deform_conv2d step": _named(OP_GRADIENT, 5e-3) | {"float32": 1e-4},
    "sampled_mlp": _named(TRITON, 5e-3),
    "sampled_mlp step": {"float32": 1e-4, "tf32": 1e-2, "float16": 5e-2, "bfloat16": 2e-1},
    "query": {"float32": 5e-4, "tf32": 2e-2, "float16": 2e-2, "bfloat16": 1e-1},
    "query step": {"float32": 2e-3, "tf32": 5e-2, "float16": 5e-2, "bfloat16": 2e-1},
    "encoder": _NETWORK,
    "network": _NETWORK,
}

# Each case of the CPU benchmark: the largest relative error of float32, and the least PSNR of bfloat16 in dB, both
# against the published form in float32. The second is there to find what is wrong; what must be reached stands in
# benchmarks/cpu/targets.py.
CPU_CASE = {
    "deform_conv2d": (1e-4, 40),
    "deform_conv2d step": (1e-3, 40),
    "query": (5e-4, 40),
    "query step": (2e-3, 40),
    "encoder": (2e-3, 30),
    "network": (2e-3, 35),
    "network step": (2e-2, 30),
}

# Largest relative error of a kernel launched once under a tool of the GPU kit, which looks for what no result shows.
LAUNCH = {"float32": 1e-3, "tf32": 2e-2, "float16": 2e-2, "bfloat16": 1e-1}

# Largest absolute error of V3's and Thera's fields against the stored ones, which are float64; of gradients,
# relative to the largest.
FIELD = {torch.float32: 1e-4, torch.float64: 1e-9}
FIELD_GRADIENT = {torch.float32: 1e-4, torch.float64: 1e-9}

# Largest absolute error against the stored outputs of BF-STVSR and MoTIF. MoTIF's straight form in float32 is 1.1e-4
# from them, at single pixels on which hardly anything lands.
GOLDEN_SPLATTED = {torch.float32: 2e-4, torch.float64: 1e-9}
