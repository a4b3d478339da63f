"""What comes back: kept once a device, never from a rehearsal, and shown in README.md and docs/gpu.md."""

import json

import pytest

from benchmarks.gpu.kit import plot, report
from benchmarks.gpu.kit.pieces import PIECES


def row(case, form, precision, ms, **more):
    return {"case": case, "form": form, "precision": precision, "status": "ok", "note": "", "ms": ms, **more}


TIMES = {
    "times": [
        row("query 320x180 x4", "eager", "float32", 40.0),
        row("query 320x180 x4", "triton", "float16", 1.25, estimate_ms=0.68),
        row("query 320x180 x4", "cuda", "float16", 1.0, estimate_ms=0.615),
        {**row("query 320x180 x4", "compile", "float32", None), "status": "failed"},
    ],
    "frames_per_second": [
        {"case": "network", "output": "1280x720", "form": "graphs", "precision": "float16", "frames_per_second": 61.5}
    ],
}
CLIP = {"rows": [{"name": "own", "frames_per_second": 48.2, "seconds": 5.0, "stages": {"read": 0.5, "write": 3.0}}]}
RUN = {"step": 300, "steps": 300, "ms_per_step": 80.0, "loss": [9.0, 4.0], "repeats": True}
HOST = {"device": "NVIDIA H100 80GB HBM3", "torch": "2.11.0", "triton": "3.6.0", "started": "2026-12-01T10:00:00Z"}


def write(folder, rehearsal=False, commit="abc", **found):
    """A folder as a kit writes it, in which these pieces ran."""
    folder.mkdir(exist_ok=True)
    kept = [
        {"name": p.name, "group": p.group, "status": "done", "note": "", "seconds": 1.0,
         "attempts": int(p.name in found), "found": found.get(p.name)}
        for p in PIECES
    ]  # fmt: skip
    results = {"format": 1, "kit": {"commit": commit}, "rehearsal": rehearsal, "pieces": kept}
    (folder / "results.json").write_text(json.dumps(results))
    return folder


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read .*: No such file"),
        ("{", "is no JSON"),
        ("[]", "is no result of a kit of this version"),
        ('{"format": 2, "pieces": []}', "is no result of a kit of this version"),
        ('{"format": 1, "pieces": []}', "does not say which GPU it is of"),
    ],
)
def test_what_is_no_result_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(report.ReportError, match=message):
        report.read(tmp_path)


def test_a_rehearsal_is_never_kept(tmp_path):
    with pytest.raises(report.ReportError, match="its figures mean nothing"):
        report.read(write(tmp_path, rehearsal=True, host=HOST))


def test_pieces_of_several_runs_come_together(tmp_path):
    first = report.read(write(tmp_path / "a", host=HOST, times=TIMES, clip=CLIP))
    second = report.read(write(tmp_path / "b", commit="def", host=HOST, deterministic=RUN))
    device = report.merge(report.merge(None, first), second)
    assert device["pieces"]["times"]["commit"] == "abc"
    assert device["pieces"]["deterministic"]["commit"] == "def"
    assert "memcheck" not in device["pieces"]  # it did not run
    text = report.whole([device])
    assert "| query 320x180 x4 | float16 |  |  | 1.25 ms | 1.00 ms | triton 680 us, cuda 615 us |" in text
    assert "| query 320x180 x4 | float32 | 40.0 ms | failed |  |  |  |" in text
    assert "| deterministic | 300 of 300 | 80.0 ms | 9 to 4 | yes |" in text
    assert "commit abc and def, 2026-12-01" in text
    assert "| each CUDA kernel under compute-sanitizer memcheck | never run |  |" in text
    short = report.short([device])
    assert "NVIDIA H100 80GB HBM3" in short
    assert "1.25 ms" in short


def test_without_results_it_says_never_run():
    assert report.short([]).startswith("**Never run: no GPU kernel has run on a GPU")
    assert "(docs/gpu.md)" in report.short([])
    assert "(gpu.md)" in report.whole([])


def test_the_files_are_what_is_kept():
    """README.md and docs/gpu.md hold what `make gpu-report` would write."""
    assert report.main(["--check"]) == 0


def test_main_merges_and_writes(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(report, "ROOT", tmp_path)
    monkeypatch.setattr(report, "FOLDER", tmp_path / "results" / "gpu")
    (tmp_path / "docs").mkdir()
    for path in (tmp_path / "README.md", tmp_path / "docs" / "gpu.md"):
        path.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    assert report.main([str(write(tmp_path / "a", host=HOST, times=TIMES))]) == 0
    assert (tmp_path / "results" / "gpu" / "nvidia-h100-80gb-hbm3.json").is_file()
    assert (tmp_path / "results" / "gpu" / "nvidia-h100-80gb-hbm3.svg").is_file()
    text = (tmp_path / "README.md").read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "1.00 ms" in text
    assert "old" not in text
    assert report.main(["--check"]) == 0
    (tmp_path / "docs" / "gpu.md").write_text("no markers")
    assert report.main([]) == 1
    assert "gpu.md must hold one line" in capsys.readouterr().err
    assert report.main([str(tmp_path / "nowhere")]) == 1


def test_the_picture(tmp_path):
    device = report.merge(None, report.read(write(tmp_path / "a", host=HOST, times=TIMES)))
    assert plot.speedups(device) == [("query 320x180 x4, float16", [("triton", 32.0), ("cuda", 40.0)])]
    assert plot.rates(device) == [("1280x720, float16", [("graphs", 61.5)])]
    assert plot.draw(device, tmp_path / "a.svg")
    assert "ours, CUDA graphs" in (tmp_path / "a.svg").read_text()
    assert not plot.draw({"pieces": {}}, tmp_path / "b.svg")


def test_names_of_files():
    assert report.slug("NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3"
    assert report.slug("../../etc") == "etc"
    assert report.slug("///") == "gpu"
