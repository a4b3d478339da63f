import os

import pytest
import torch

from vinr_engine.kernels.common import runtime

if runtime.unavailable():
    pytest.skip(runtime.unavailable(), allow_module_level=True)

import vinr_engine as vinr
from benchmarks.tolerances import OP, TRITON, relative_error
from ops.inr_query.samples import SHAPES, SHAPES_WITH_PIXELS, cast, gradients, problem, query
from triton_kernels.sectors import SECTOR, counted, unique_by_program
from vinr_engine.kernels.inr_query.launch import Query
from vinr_engine.ops.hoisting import hoist

PUBLISHED_WIDTHS = dict(C=12, hidden=((64, 64, 256), (64, 64, 256), (64, 64, 256, 256)), features=64)
SLOW = ("published widths", "several tiles", "one row", "batch", "far flow", "odd widths")


def marked(names, slow=SLOW):
    return [pytest.param(n, marks=pytest.mark.slow if n in slow else ()) for n in names]


def on(device, arguments):
    def moved(value):
        if isinstance(value, torch.Tensor):
            return value.to(device)
        return [tuple(t.to(device) for t in pair) for pair in value] if isinstance(value, list) else value

    return [moved(a) for a in arguments]


def on_triton(device, arguments):
    return [out.cpu() for out in query(on(device, arguments), "triton")]


@pytest.mark.parametrize("name", marked(SHAPES))
def test_float32(triton_device, name):
    arguments = problem(**SHAPES[name])
    expected = query(arguments, "reference")
    single = cast(arguments, torch.float32)
    # A rounding of a phase grows with every layer: what the reference loses in float32 is the measure.
    for actual, same, exact in zip(on_triton(triton_device, single), query(single, "reference"), expected, strict=True):
        assert relative_error(actual, exact) <= 3 * relative_error(same, exact) + OP[torch.float32]


SLOW_GRADIENTS = (*SLOW, "some")


@pytest.mark.parametrize("name", marked(SHAPES_WITH_PIXELS, SLOW_GRADIENTS))
def test_gradients_float32(triton_device, name):
    arguments = problem(**SHAPES[name])
    expected = gradients(arguments, "reference")
    single = cast(arguments, torch.float32)
    actual = gradients(on(triton_device, single), "triton")
    for i, (a, same, exact) in enumerate(zip(actual, gradients(single, "reference"), expected, strict=True)):
        assert relative_error(a.cpu(), exact) <= 5 * relative_error(same, exact) + 5 * OP[torch.float32], i


LOW = [torch.float16, torch.bfloat16]


def rounded(arguments, dtype):
    """Arguments rounded to `dtype`, but for times, in float64: what this does to the reference is the measure."""
    return [
        v if i in (2, 3, 4, 8) else x
        for i, (v, x) in enumerate(zip(arguments, cast(cast(arguments, dtype), torch.float64), strict=True))
    ]


@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("name", marked(["some", "no upsampling", "odd widths", "published widths", "several tiles"]))
def test_autocast_rounds_operands(triton_device, name, dtype):
    arguments = problem(**SHAPES[name])
    expected = query(arguments, "reference")
    with torch.autocast(triton_device, dtype):
        actual = on_triton(triton_device, cast(arguments, torch.float32))
    for a, r, e in zip(actual, query(rounded(arguments, dtype), "reference"), expected, strict=True):
        assert a.dtype == torch.float32
        assert relative_error(a, e) <= 3 * relative_error(r, e) + OP[dtype]


@pytest.mark.parametrize("dtype", LOW)
def test_low_precision_arguments(triton_device, dtype):
    arguments = cast(problem(), dtype)
    actual = on_triton(triton_device, arguments)
    for a, e in zip(actual, query(cast(arguments, torch.float64), "reference"), strict=True):
        assert a.dtype == dtype
        assert relative_error(a, e) <= TRITON[dtype]


@pytest.mark.parametrize("dtype", LOW)
def test_low_precision_gradients(triton_device, dtype):
    arguments = cast(problem(T=1, size=(5, 6)), dtype)
    expected = gradients(cast(arguments, torch.float64), "reference")
    for i, (a, e) in enumerate(zip(gradients(on(triton_device, arguments), "triton"), expected, strict=True)):
        assert a.dtype == dtype
        assert relative_error(a.cpu(), e) <= TRITON[dtype], i


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_wild_flow_reads_outside(triton_device, bad, dtype):
    """NaN and infinite flow: no crash, and the reference's result."""
    arguments = problem(T=1, size=(5, 6))
    weight, bias = arguments[6][-1]
    arguments[6][-1] = (weight, torch.full_like(bias, bad))
    expected, _ = query(arguments, "reference")
    with torch.autocast(triton_device, dtype, enabled=dtype != torch.float32):
        actual, flow = on_triton(triton_device, cast(arguments, torch.float32))
    assert torch.equal(flow.isnan(), torch.full_like(flow, bad).isnan())
    assert torch.isfinite(actual).all()
    assert relative_error(actual, expected) <= TRITON[dtype]


@pytest.mark.slow
def test_deterministic_gradients(triton_device):
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] in (":4096:8", ":16:8")  # else cuBLAS refuses
    arguments = problem(T=1, size=(5, 6))
    expected = gradients(arguments, "reference")
    single = on(triton_device, cast(arguments, torch.float32))
    torch.use_deterministic_algorithms(True)
    try:
        first, second = gradients(single, "triton"), gradients(single, "triton")
    finally:
        torch.use_deterministic_algorithms(False)
    for a, b, e in zip(first, second, expected, strict=True):
        assert torch.equal(a, b)
        assert relative_error(a.cpu(), e) <= TRITON[torch.float32]


@pytest.mark.slow
def test_images_that_are_decoded_apart(triton_device, monkeypatch):
    """Fewer HR features fit into memory than there are images."""
    from vinr_engine.kernels.inr_query import backward
    from vinr_engine.kernels.inr_query import launch as kernels

    arguments = cast(problem(B=2, T=2, size=(5, 6)), torch.float32)
    together, d_together = on_triton(triton_device, arguments), gradients(on(triton_device, arguments), "triton")
    monkeypatch.setattr(kernels, "HR_BYTES", 1)
    monkeypatch.setattr(backward, "ROWS_TOGETHER", 1)
    for a, b in zip(together, on_triton(triton_device, arguments), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(d_together, gradients(on(triton_device, arguments), "triton"), strict=True):
        assert relative_error(a.cpu(), b.cpu()) <= OP[torch.float32]


def test_64_bit_offsets(triton_device, monkeypatch):
    from vinr_engine.kernels.inr_query import launch as kernels

    arguments = cast(problem(T=1, size=(5, 6)), torch.float32)
    narrow = on_triton(triton_device, arguments)
    monkeypatch.setattr(kernels, "passes_32_bits", lambda *tensors: True)
    for a, b in zip(narrow, on_triton(triton_device, arguments), strict=True):
        assert torch.equal(a, b)


def test_activations_that_registers_do_not_hold(triton_device):
    arguments = problem(T=1, size=(5, 6), hidden=((16, 24), (8,), (70, 80)), calm=3)
    expected = query(arguments, "reference")
    for actual, e in zip(on_triton(triton_device, cast(arguments, torch.float32)), expected, strict=True):
        assert relative_error(actual, e) <= TRITON[torch.float32]


@pytest.mark.slow
@pytest.mark.skipif(not runtime.INTERPRETED, reason="it takes one GPU's launches on another")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("u", [4, 1])
def test_launches_of_sm_120(triton_device, monkeypatch, dtype, u):
    """Smaller tiles and chunks, and activations in memory where other targets keep them in registers."""
    monkeypatch.setattr("vinr_engine.kernels.inr_query.launch.capability_of", lambda device: 120)
    arguments = problem(T=1, size=(5, 9), u=u, calm=3, **PUBLISHED_WIDTHS)
    expected = query(arguments, "reference")
    with torch.autocast(triton_device, dtype, enabled=dtype != torch.float32):
        actual = on_triton(triton_device, cast(arguments, torch.float32))
    assert all(relative_error(a, e) <= TRITON[dtype] for a, e in zip(actual, expected, strict=True))


def test_deep_networks(triton_device):
    arguments = problem(T=1, size=(3, 4), hidden=((8,) * 9, (4,), (16,) * 10), calm=3)
    expected = query(arguments, "reference")
    for actual, e in zip(on_triton(triton_device, cast(arguments, torch.float32)), expected, strict=True):
        assert relative_error(actual, e) <= TRITON[torch.float32]


@pytest.mark.skipif(not runtime.INTERPRETED, reason="it looks at what the interpreter reads and writes")
@pytest.mark.parametrize(("flow", "longest"), [(8.0, 2), pytest.param(40.0, 8, marks=pytest.mark.slow)])
def test_traffic(triton_device, flow, longest):
    """Unique 32-byte sectors of both passes a program, against maps read once, HR feature and flow written and read
    once, and the picture written; as many programs, on as large a picture, as tests/simt counts for CUDA."""
    maps, frames, times, lr_size, size, *networks, u = problem(
        T=1, padded=(16, 16), lr_size=(16, 16), size=(64, 64), flow=flow, **PUBLISHED_WIDTHS, calm=3
    )
    (projected, colours), layers = hoist(maps, frames, *networks, u)
    query = Query(projected, colours, times, lr_size, size, u, *layers, 30.0, "float16")
    query.programs = 8
    hr, moves, image = query.new_hr(1), torch.empty(1, 1, 4, *size), torch.empty(1, 1, 3, *size)
    touched = 0
    for launch, outputs in ((query.decode, (hr, moves)), (query.colour, (hr, moves, image))):
        with counted() as accesses:
            launch(0, 1, *outputs)
        tensors = (query.maps, query.colours, hr, moves, image)
        touched += sum(unique_by_program(accesses, tensor) for tensor in tensors)
    # A map pixel has 256 channels of 2 bytes; a colour 8, a feature 64.
    ideal = 16 * 16 * 256 * 2 + 64 * 64 * (8 * 2 + 2 * (64 * 2 + 4 * 4) + 3 * 4)
    assert 0.75 * longest < moves.abs().max() < longest
    assert image.isfinite().all()
    assert ideal <= touched * SECTOR <= 1.5 * ideal


@pytest.mark.slow
@pytest.mark.parametrize("wants", [(True, False, False), (False, False, True), (False, True, False)])
def test_only_wanted_gradients(triton_device, wants):
    arguments = problem(T=1, size=(5, 6))
    expected = gradients(arguments, "reference", wants)
    actual = gradients(on(triton_device, cast(arguments, torch.float32)), "triton", wants)
    assert all(relative_error(a.cpu(), e) <= TRITON[torch.float32] for a, e in zip(actual, expected, strict=True))


@pytest.mark.parametrize(
    "name", marked(["some", "no upsampling", "no times", "empty batch"], ("some", "no upsampling"))
)
def test_opcheck(triton_device, name):
    shape = SHAPES[name] | ({} if name.startswith(("no times", "empty")) else dict(T=1, size=(3, 4)))
    maps, frames, times, lr_size, size, *networks, u = on(triton_device, cast(problem(**shape), torch.float32))
    (projected, colours), layers = hoist(maps, frames, *networks, u)
    differentiable = (projected, *(() if colours is None else (colours,)), *(t for n in layers for t in n))
    for tensor in differentiable:
        tensor.requires_grad_()
    common = (projected, colours, times, list(lr_size), list(size), u, *layers, 30.0)
    torch.library.opcheck(torch.ops.vinr.inr_query_triton.default, (*common, "ieee"))
    with torch.no_grad():
        image, flow = torch.ops.vinr.inr_query_triton(*common, "ieee")
        detached = [[t.detach() for t in n] for n in layers]
        plain = (projected.detach(), None if colours is None else colours.detach(), *common[2:6], *detached, 30.0)
        arguments = (image, flow, *plain, colours is not None, "ieee")
        torch.library.opcheck(torch.ops.vinr.inr_query_triton_backward.default, arguments)


@pytest.mark.slow
def test_compiles_as_one_graph(triton_device):
    compiled = torch.compile(vinr.ops.inr_query, fullgraph=True, dynamic=True, backend="aot_eager")
    arguments = on(triton_device, cast(problem(T=1, size=(5, 6)), torch.float32))
    with torch.inference_mode(), vinr.backend("triton"):
        for a, b in zip(compiled(*arguments), vinr.ops.inr_query(*arguments), strict=True):
            torch.testing.assert_close(a, b)


def test_second_backward_says_what_to_do(triton_device):
    arguments = on(triton_device, cast(problem(T=1, size=(3, 4)), torch.float32))
    arguments[0].requires_grad_()
    with vinr.backend("triton"):
        out, _ = vinr.ops.inr_query(*arguments)
        (grad,) = torch.autograd.grad(out.sum(), arguments[0], create_graph=True)
        with pytest.raises(NotImplementedError, match="no second derivative"):
            grad.sum().backward()


def test_what_it_cannot_run(triton_device):
    arguments = on(triton_device, cast(problem(hidden=((16, 24), (8,), (520, 17))), torch.float32))
    with vinr.backend("triton"):
        with pytest.raises(vinr.BackendError, match="it takes layers of up to 512 outputs, got 520"):
            vinr.ops.inr_query(*arguments)
        with pytest.raises(
            vinr.BackendError, match=r"it takes float32, float16 and bfloat16 tensors, got torch\.float64"
        ):
            vinr.ops.inr_query(*on(triton_device, problem()))
        arguments = on(triton_device, cast(problem(), torch.float32))
        arguments[2].requires_grad_()
        with pytest.raises(vinr.BackendError, match="no gradient of times"):
            vinr.ops.inr_query(*arguments)
