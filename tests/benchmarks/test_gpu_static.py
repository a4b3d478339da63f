"""The static report: what is read from machine code, what is computed from it, and what fails the check."""

import csv
import json
import os
import pathlib
import re
import subprocess
import sys
from dataclasses import replace

import pytest

pytest.importorskip("triton")  # its tools read machine code

from benchmarks.common import hardware
from benchmarks.static import compiler, estimate, machine_code, machine_trace, report, run
from benchmarks.static.compiler import Job, Kernel
from benchmarks.static.machine_code import Code, Instruction

ROOT = pathlib.Path(__file__).parents[2]
EXECUTED = {"HMMA.16816.F32": 504, "FFMA": 1000, "LDS.128": 100, "MUFU.SIN": 390, "IADD3": 2400}
GOOD = Kernel(
    90, "triton", "inr_query", "decode float16", "float16", False, True, 8, 228, 0, 0, 0, 33024, 34, 13, 3704, 58,
    "3.9.0", 16, EXECUTED,
)  # fmt: skip


def listing(text):
    """Code of lines such as "label: @P0 BRA `(.L_1)"."""
    instructions, labels = [], {}
    for line in text.strip().splitlines():
        label, _, rest = line.strip().rpartition(": ")
        if label:
            labels[label] = len(instructions)
        guard, rest = rest.split(" ", 1) if rest.startswith("@") else ("", rest)
        name, _, operands = rest.partition(" ")
        instructions.append(Instruction(guard.lstrip("@"), name, operands))
    return Code(tuple(instructions), labels)


def test_notes_on_scheduling_are_no_operands():
    """As nvdisasm 12.8 prints them for compute capability 12.0."""
    lines = (
        "        /*0080*/                   IADD3 R1, R2, 0x80                    ?WAIT2_END_GROUP;",
        "        /*0090*/              @!P0 BRA `(.L_1)  ?trans1 ?WAIT4 ;",
        ".L_1:",
        "        /*00a0*/                   EXIT ;",
    )
    code = machine_code._parse("\n".join(lines) + "\n")
    assert [tuple(i) for i in code.instructions] == [
        ("", "IADD3", "R1, R2, 0x80"), ("!P0", "BRA", "`(.L_1)"), ("", "EXIT", ""),
    ]  # fmt: skip
    assert code.labels == {".L_1": 2}


LOOPS = """
MOV R2, RZ
UMOV UR4, 0x0
.L_1: LDG.E R9, desc[UR6][R4.64]
MOV R0, 0xfffffffe
.L_2: HMMA.16816.F32 R12, R16, R20, R12
IADD3 R0, R0, 0x2, RZ
ISETP.LT.AND P0, PT, R0, 0x8, PT
@P0 BRA `(.L_2)
.L_3: UIADD3 UR4, UR4, 0x1, URZ
UISETP.NE.AND UP0, UPT, UR4, 0x3, UPT
PLOP3.LUT P1, PT, PT, PT, UP0, 0x80, 0x0
@P1 BRA `(.L_3)
.L_4: IADD3 R2, P2, R2, -0x1, RZ
ISETP.NE.AND P3, PT, R9, RZ, PT
@P3 BRA `(.L_1)
EXIT
.L_5: BRA `(.L_5)
"""


def test_a_trace_follows_what_is_known():
    trace = machine_trace.follow(listing(LOOPS))
    tile = trace.tile()
    assert tile["HMMA.16816.F32"] == 5  # -2, 0, 2, 4, 6
    assert tile["UIADD3"] == 3
    assert trace.loops == ((2, 14),)  # over tiles: how many is not known
    assert tile["UMOV"] == 0  # before the first
    assert tile["LDG.E"] == 1


def test_64_bit_counters_carry():
    trace = machine_trace.follow(
        listing("""
        MOV R2, 0xffffff00
        MOV R3, RZ
        .L_1: IADD3 R2, P0, R2, 0x100, RZ
        IADD3.X R3, RZ, R3, RZ, P0, !PT
        ISETP.NE.U32.AND P1, PT, R2, 0x400, PT
        ISETP.NE.U32.AND.EX P1, PT, R3, 0x1, PT, P1
        @P1 BRA `(.L_1)
        EXIT
    """)
    )
    assert trace.counts[2] == 5
    assert trace.loops == ()


def test_a_loop_that_is_left_from_inside():
    trace = machine_trace.follow(
        listing("""
        .L_1: LDG.E R9, desc[UR6][R4.64]
        ISETP.NE.AND P3, PT, R9, RZ, PT
        @P3 BRA `(.L_2)
        HMMA.16816.F32 R12, R16, R20, R12
        BRA `(.L_1)
        .L_2: STG.E desc[UR6][R4.64], R12
        EXIT
    """)
    )
    assert trace.loops == ((0, 4),)
    assert trace.counts[5] == 1
    assert trace.tile() == {"LDG.E": 1, "ISETP.NE.AND": 1, "BRA": 2, "HMMA.16816.F32": 1}


def test_an_endless_kernel_is_an_error(monkeypatch):
    monkeypatch.setattr(machine_trace, "MOST_STEPS", 100)
    with pytest.raises(RuntimeError, match="does not end within 100"):
        machine_trace.follow(listing(".L_1: NOP\nNOP\nBRA `(.L_1)"))


@pytest.mark.parametrize(
    ("target", "registers", "shared", "warps", "blocks"),
    [
        (80, 255, 0, 8, 1),  # registers: 8 warps of 8192
        (90, 72, 39936, 8, 3),
        (90, 32, 0, 8, 8),  # 64 warps
        (86, 32, 0, 1, 16),
        (120, 72, 39936, 8, 2),  # 100 KB of shared memory, 1 KB of each block's reserved
        (90, 128, 227 << 10, 4, 1),
        (89, 64, 99 << 10, 4, 1),
    ],
)
def test_occupancy(target, registers, shared, warps, blocks):
    assert hardware.resident_blocks(target, registers, shared, warps) == blocks


def test_peaks_are_whole_multiples_of_what_a_scheduler_does():
    assert [round(gpu.matrix_rate("float16")) for gpu in hardware.GPUS] == [256, 64, 512, 64]


def test_faults():
    assert GOOD.faults() == []
    assert replace(GOOD, local_loads=3).faults() == ["spills: stack 0 B, local loads 3, stores 0"]
    assert replace(GOOD, stack=8, matrix=0).faults()[1:] == ["no matrix instruction"]
    assert replace(GOOD, stack=8, training=True).faults() == []
    assert replace(GOOD, stack=8, operands="ieee").faults() == []


def test_kernels_for_other_widths_than_the_published_may_spill():
    """Triton's; they must hold matrix instructions all the same."""
    wide = replace(GOOD, kernel="decode any width float16", stack=8)
    assert report.faults(wide) == []
    assert report.faults(replace(wide, matrix=0)) == ["no matrix instruction"]
    assert len(report.faults(replace(wide, backend="cuda"))) == 1
    assert len(report.faults(replace(GOOD, stack=8))) == 1


@pytest.mark.parametrize(("target", "limit"), [(86, 101376), (89, 101376), (120, 101376), (80, 166912), (90, 232448)])
def test_more_shared_memory_than_a_block_may_have_is_a_fault(target, limit):
    """In every precision, and of training too: such a kernel cannot be launched."""
    kernel = replace(GOOD, target=target, shared=limit, training=True, operands="ieee")
    assert report.faults(kernel) == []
    (fault,) = report.faults(replace(kernel, shared=limit + 1))
    assert fault == f"shared memory {limit + 1} B, of which a block may have {limit} B"
    assert report.faults(replace(kernel, shared=None)) == []


def test_estimate():
    """By hand, for an H100: 57 600 shares of 16 pixels over 528 schedulers at 1.83 GHz."""
    gpu = hardware.gpu_of(90)
    one = estimate.estimate(GOOD, gpu)
    each = 57_600 / 528 / 1.83e9
    assert one.issue == pytest.approx(4394 * each)
    assert one.special == pytest.approx(390 * 8 * each)
    assert one.floats == pytest.approx(1000 * each)
    assert one.shared == pytest.approx(100 * 512 / 128 * 4 * each)
    assert one.matrix == pytest.approx(504 * 2048 / 512 / 0.63 * each, rel=1e-3)
    assert one.seconds == one.issue
    with pytest.raises(ValueError, match="multiply-adds counted"):
        estimate.estimate(replace(GOOD, executed={"HMMA.16816.F32": 100}), gpu)


def test_files_and_tables(tmp_path, capsys):
    products = {"HMMA.16816.F32": 760}
    spilled = replace(GOOD, kernel="colour float16", stack=16, executed=products)
    for suffix, write in report.WRITERS.items():
        write(tmp_path / f"report{suffix}", [GOOD, spilled])
    rows = list(csv.DictReader((tmp_path / "report.csv").read_text().splitlines()))
    assert [row["faults"] for row in rows] == ["", "spills: stack 16 B, local loads 0, stores 0"]
    assert rows[0]["resident_warps"] == "8"
    assert json.loads((tmp_path / "report.json").read_text())["kernels"][0]["executed"] == GOOD.executed
    text = (tmp_path / "report.md").read_text()
    assert "| ! triton 3.9.0 | inr_query colour float16 |" in text
    assert "| H100 | triton | both |" in text


def test_an_estimate_on_code_that_was_not_followed_is_none():
    lost = replace(GOOD, kernel="colour float16", executed={"HMMA.16816.F32": 7})
    *_, query, _ = report.tables([GOOD, lost])
    assert query.rows[0][2].startswith("none: inr_query colour float16")


def run_main(monkeypatch, outcomes, *arguments):
    """main() on compilers that say `outcomes`."""
    from vinr_engine.kernels.common import runtime

    monkeypatch.setattr(runtime, "INTERPRETED", False)
    job = Job(90, "triton", "inr_query decode float16")
    monkeypatch.setattr(compiler, "jobs", lambda target: [replace(job, target=target)])
    monkeypatch.setattr(compiler, "compile_all", lambda wanted, *_: [(w, *outcomes) for w in wanted])
    return run.main(["--check", "--target", "90", *arguments])


def test_check(monkeypatch, capsys):
    assert run_main(monkeypatch, ([GOOD], "")) == 0
    assert run_main(monkeypatch, ([replace(GOOD, matrix=0)], "")) == 1
    assert "sm_90 triton 3.9.0 inr_query decode float16: no matrix instruction\n" in capsys.readouterr().out
    assert run_main(monkeypatch, ([replace(GOOD, shared=232449)], "")) == 1
    assert "decode float16: shared memory 232449 B, of which a block may have 232448 B\n" in capsys.readouterr().out
    assert run_main(monkeypatch, ([], "CompilationError: so")) == 1
    assert "does not compile: CompilationError: so\n" in capsys.readouterr().out


def test_kernels_of_another_triton_are_checked_too(monkeypatch, tmp_path, capsys):
    (tmp_path / "triton").mkdir()
    spilled = replace(GOOD, compiler="3.6.0", stack=8)
    monkeypatch.setattr(run, "by_another", lambda folder, options: ([spilled], ["sm_90 triton 3.6.0: no"]))
    assert run_main(monkeypatch, ([GOOD], ""), "--also", str(tmp_path)) == 1
    out = capsys.readouterr().out
    assert "sm_90 triton 3.6.0 inr_query decode float16: spills: stack 8 B" in out
    assert "sm_90 triton 3.6.0: no\n" in out
    assert "2 kernels compiled, 2 checked, 1 faults, 1 do not compile: triton 3.6.0, triton 3.9.0\n" in out
    with pytest.raises(SystemExit, match="2"):
        run_main(monkeypatch, ([GOOD], ""), "--also", str(tmp_path / "none"))


def test_work_and_estimates_are_of_the_newest_triton():
    older, cuda = replace(GOOD, compiler="3.10.0"), replace(GOOD, backend="cuda", compiler="13.0")
    assert report.newest([GOOD, older, cuda]) == [older, cuda]
    assert report.newest([cuda]) == [cuda]


def test_every_kernel_is_compiled_once():
    """By the oldest Triton, and by the newest in what continuous integration compiles; in one of its widths."""
    jobs = list(compiler.jobs(run.ONE))
    part = [job for job in jobs if run.each_once(job)]
    named, every = ({re.sub(r" of \d+.*", "", job.name.split(",")[0]) for job in some} for some in (part, jobs))
    assert named == every
    assert any("backward" in job.name for job in part)
    assert set(part) <= {job for job in jobs if run.quick(job)}
    assert not any(run.each_once(job) for job in compiler.jobs(80))


def test_the_quick_part_has_every_checked_pass_on_every_target():
    """All but bfloat16, rare sizes, other widths, the sampled MLP in TF32 and the Fourier MLP."""
    for target in hardware.LIMITS:
        every = [job for job in compiler.jobs(target) if job.checked]
        part = {job.name.split(",")[0] for job in every if run.quick(job)}
        ends = target in (*run.ENDS, run.ONE)
        rest = {job.name.split(",")[0] for job in every} - part
        left = ("bfloat16", "sampled_mlp forward tf32", "fourier_mlp", "any width")
        assert all(any(word in name for word in left) for name in rest)
        assert not (ends and rest)
        assert {"inr_query decode float16", "inr_query colour tf32", "sampled_mlp forward float16"} <= part


def test_without_nvcc_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(compiler, "nvcc", lambda: None)
    assert run_main(monkeypatch, ([GOOD], "")) == 0
    assert capsys.readouterr().err == "nvcc is not on PATH: Triton's kernels alone are looked at\n"


@pytest.mark.parametrize(
    "arguments", [("--kernel", "nothing such"), ("--kernel", "("), ("--out", "a.txt"), ("--jobs", "0")]
)
def test_wrong_usage(monkeypatch, capsys, arguments):
    with pytest.raises(SystemExit, match="2"):
        run_main(monkeypatch, ([GOOD], ""), *arguments)


def compile_one(tmp_path, *arguments):
    """In a process of its own: where kernels run in the interpreter, none can be compiled."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"} | {"PYTHONPATH": str(ROOT)}
    command = [
        sys.executable,
        "-m",
        "benchmarks.static",
        "--target",
        "80",
        "--jobs",
        "1",
        "--cache",
        tmp_path,
        *arguments,
    ]
    return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_kernel_of_each_compiler(tmp_path):
    done = compile_one(tmp_path, "--kernel", "deform_conv2d( forward float16.* 32 pixels|$)", "--out", "report.json")
    assert done.returncode == 0, done.stdout + done.stderr
    kernels = [k["kernel"] for k in json.loads((tmp_path / "report.json").read_text())["kernels"]]
    assert {k["backend"] for k in kernels} == ({"triton", "cuda"} if compiler.nvcc() else {"triton"})
    assert all(k["matrix"] > 0 and k["registers"] > 32 and k["resident_warps"] >= 8 for k in kernels)
