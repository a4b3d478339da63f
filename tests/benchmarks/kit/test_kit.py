"""The kit itself: what is packed, how it unpacks, and in which environment the work runs there."""

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from benchmarks.gpu.kit import build, guard, run

ROOT = Path(__file__).parents[3]
TORCH = "torch"  # what a module that is there is called


def payload(tmp_path, name="hello.txt"):
    """An archive and its digest."""
    folder = tmp_path / "content"
    (folder / "checkout").mkdir(parents=True)
    (folder / "checkout" / name).write_text("hello")
    archive = tmp_path / "payload.tar.xz"
    return archive, build.pack(folder, archive)


def test_a_payload_is_unpacked_once(tmp_path):
    archive, digest = payload(tmp_path)
    target = run.unpacked(tmp_path / "state", archive, digest)
    assert (target / "checkout" / "hello.txt").read_text() == "hello"
    (target / "checkout" / "hello.txt").write_text("changed")
    run.unpacked(tmp_path / "state", archive, digest)
    assert (target / "checkout" / "hello.txt").read_text() == "changed"
    assert [p.name for p in (tmp_path / "state").iterdir()] == ["payload"]


def test_a_damaged_payload_is_refused(tmp_path):
    archive, digest = payload(tmp_path)
    archive.write_bytes(archive.read_bytes()[:-4] + b"oops")
    with pytest.raises(ValueError, match="is damaged: sha256"):
        run.unpacked(tmp_path / "state", archive, digest)
    assert not (tmp_path / "state").exists()


def test_no_path_leaves_the_folder(tmp_path):
    archive = tmp_path / "payload.tar.xz"
    with tarfile.open(archive, "w:xz") as out:
        out.add(__file__, "../outside.py")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if not hasattr(tarfile, "data_filter"):
        pytest.skip("this Python's tarfile has no filters")
    with pytest.raises(tarfile.TarError):
        run.unpacked(tmp_path / "state", archive, digest)
    assert not (tmp_path / "outside.py").exists()


def test_packing_does_not_depend_on_the_machine(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = payload(tmp_path / "a")[1]
    archive, second = payload(tmp_path / "b")
    assert first == second
    with tarfile.open(archive) as kit:
        assert {(entry.uid, entry.uname, entry.mtime) for entry in kit} == {(0, "", 0)}


def test_what_the_host_has_is_not_replaced(tmp_path, monkeypatch):
    monkeypatch.setenv("VINR_BACKEND", "reference")
    monkeypatch.setenv("PYTHONPATH", "/before")
    carried = {"torch": [TORCH], "lacking": ["no_such_module_at_all", "other"]}
    found = run.environment(tmp_path / "payload", carried, tmp_path)
    paths = found["PYTHONPATH"].split(os.pathsep)
    assert paths == [str(tmp_path / "payload/checkout"), str(tmp_path / "payload/site/lacking"), "/before"]
    assert "VINR_BACKEND" not in found
    assert found["TRITON_CACHE_DIR"].startswith(str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["all"], "--out"),
        (["everything", "--out", "x"], "invalid choice"),
        (["all", "--out", "x", "--deadline", "0"], "--deadline must be more than 0"),
        (["all", "--out", "x", "--deadline", "nan"], "--deadline must be more than 0"),
        (["all", "--out", "x"], "this kit does not unpack"),
    ],
)
def test_wrong_usage_of_run(tmp_path, arguments, message):
    """As it stands in a kit whose other files got lost."""
    script = tmp_path / "run"
    script.write_text(Path(run.__file__).read_text(encoding="utf-8"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script, *arguments], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 2
    assert message in done.stderr


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "kit").mkdir()
    (tmp_path / "kit" / "precious.txt").write_text("keep")
    with pytest.raises(build.KitError, match="holds something else than a kit"):
        build.make(tmp_path / "kit", "90", "3.12", cuda=False)
    assert (tmp_path / "kit" / "precious.txt").read_text() == "keep"


def test_without_nvcc_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    assert build.main(["--out", str(tmp_path / "kit")]) == 1
    assert capsys.readouterr().err == "gpu-kit: nvcc is not on PATH: --without-cuda makes a kit without CUDA C++\n"
    with pytest.raises(SystemExit):
        build.main(["--python", "2.7"])


def test_a_kit_holds_what_git_tracks(tmp_path):
    if not (ROOT / ".git").exists():
        pytest.skip("this copy has no history")
    build.checkout(tmp_path)
    for name in ("setup.py", "kernels/inr_query/forward.py", "tests/golden/keys.json", "benchmarks/gpu/kit/run.py"):
        assert (tmp_path / name).read_bytes() == (ROOT / name).read_bytes()
    assert not (tmp_path / ".venv").exists()
    assert not (tmp_path / "build").exists()


def test_an_exception_is_told_from_what_was_found(tmp_path):
    def code(text):
        (tmp_path / "some_piece.py").write_text(text)
        command = [sys.executable, "-m", "benchmarks.gpu.kit.guard", "some_piece", "an argument"]
        path = os.pathsep.join([str(ROOT), str(tmp_path)])
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, cwd=tmp_path, check=False
        )
        return done.returncode, done.stdout + done.stderr

    assert code("import sys; print(sys.argv[1:], __name__); sys.exit(1)") == (1, "['an argument'] __main__\n")
    returned, text = code("raise ValueError('so')")
    assert returned == guard.RAISED
    assert text.endswith("ValueError: so\n")
    assert code("pass") == (0, "")


def test_kit_json_and_the_group_of_wheels_agree():
    """Every pinned wheel of the dependency group lies in a folder that the kit knows."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    group = text.split("\ngpu-kit = [")[1].split("]")[0]
    pinned = {line.strip().strip('",').split("==")[0].replace("-", "_") for line in group.splitlines() if "==" in line}
    assert pinned == {module for modules in build.CARRIED.values() for module in modules}
    assert json.dumps(build.CARRIED)
