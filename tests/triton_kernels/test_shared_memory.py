"""Launches take no more shared memory than the GPU has; those of the published widths are what was reported."""

import pytest

from vinr_engine.kernels.common import runtime

if not runtime.INSTALLED:
    pytest.skip("Triton is not installed", allow_module_level=True)

from benchmarks.common import hardware
from triton_kernels.test_machine_code import CAPABILITIES, output_lines
from vinr_engine.kernels.common.aot import configurations
from vinr_engine.kernels.common.launch import block_shared, smaller_tile
from vinr_engine.kernels.common.packing import Split, plan
from vinr_engine.kernels.sampled_mlp.launch import mlp_constants

SMALL = (86, 89, 120, 121)


def constants(capability, name):
    (found,) = [c.constexprs for c in configurations(capability) if c.name == name]
    return found


def stages_of_mlp(capability, first, hidden, last, operands="float16"):
    (layers,) = plan((((first, 0), (hidden, first), (last, hidden)),), (Split((0,)),)).networks
    return mlp_constants(layers, operands, "sine", 30.0, capability)["STAGES"]


@pytest.mark.parametrize("capability", hardware.LIMITS)
def test_limits_are_those_of_the_report(capability):
    assert block_shared(capability) == hardware.LIMITS[capability].block_shared


def test_what_is_not_known_has_the_least():
    assert block_shared(121) == block_shared(140) == 99 << 10


def test_two_stages_where_they_fit():
    """What was compiled for 256, 192 and 128 columns: 106752, 102656 and 100608, 90368, 73984 bytes."""
    for capability in (80, 90):
        assert stages_of_mlp(capability, 256, 256, 64) == 2
    for capability in SMALL:
        assert [stages_of_mlp(capability, 256, 256, last) for last in (64, 32, 16)] == [1, 1, 2]
        assert stages_of_mlp(capability, 192, 192, 128) == stages_of_mlp(capability, 128, 128, 192) == 2
        assert constants(capability, "inr_query decode any width float16")["STAGES"] == 1
    assert stages_of_mlp(86, 512, 512, 512) == 2  # through memory: 24 KB
    assert stages_of_mlp(100, 64, 64, 16) == stages_of_mlp(86, 64, 64, 16, "tf32") == 1


@pytest.mark.parametrize("capability", hardware.LIMITS)
def test_tiles_that_fit(capability):
    """By what was compiled, in bytes a pixel and the weights beside it; 32 of the inputs are colours."""
    for operands, tile, gather, size in (("float16", (8, 16), 64, 2), ("tf32", (8, 8), 16, 4), ("ieee", (4, 8), 32, 4)):
        before = 1024
        for features in (64, 128, 192, 256, 320, 512):
            rows, columns = smaller_tile(tile, 2 * features + 32, gather, operands, capability)
            pixels = rows * columns
            assert pixels * (2 * features + 32 + gather) * size + gather * gather * size <= block_shared(capability)
            assert 16 <= pixels <= before
            before = pixels


@pytest.mark.parametrize(
    ("capability", "features", "tile"),
    [(86, 128, (8, 16)), (86, 192, (8, 8)), (86, 320, (4, 8)), (80, 256, (8, 16)), (90, 512, (8, 8))],
)
def test_the_largest_tile_that_fits(capability, features, tile):
    """98304 bytes of 101376, 131072 and 69632 by half the tile, 102400 by half of it, 163840 of 166912."""
    assert smaller_tile((8, 16), 2 * features + 32, 64, "float16", capability) == tile


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("operands", ["float16", "bfloat16", "tf32"])
def test_published_widths_are_launched_as_reported(capability, operands):
    """As in benchmarks/results/gpu_static.csv: two stages in 16 bits but for sm_100, tiles of 8 rows."""
    low = operands != "tf32"
    for upsampled in ("", ", no upsampling"):
        for which in ("decode", "colour"):
            found = constants(capability, f"inr_query {which} {operands}{upsampled}")
            assert found["STAGES"] == (2 if low and capability != 100 else 1)
            small = which == "colour" and capability == 120 and not low
            assert found["TILE_Y"] == (4 if small else 8)
    for activation in ("relu", "sine"):
        found = constants(capability, f"sampled_mlp forward {operands}, {activation}")
        assert found["STAGES"] == (2 if low and capability != 100 else 1)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("capability", [80, 86, 120])
def test_other_widths_compile_and_fit(capability):
    lines = output_lines("-m", "benchmarks.static", "--check", "--target", capability, "--kernel", "any width float16")
    assert lines == ["3 kernels of triton checked, 0 faults"]
