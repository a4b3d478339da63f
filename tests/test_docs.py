"""What the pages name is there: links, and files of the repository."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FILE = re.compile(r"`((?:vinr_engine|kernels|export|csrc|tests|benchmarks|docs|examples)/[\w./-]+?)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_files_exist(page):
    text = page.read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert [link for link in links if link and not (page.parent / link).exists()] == []
    made = "benchmarks/results/gpu/"  # by the first GPU that is measured
    assert [name for name in FILE.findall(text) if name != made and not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_tests_exist(page):
    named = re.findall(r"`(tests/[\w./-]+)::(\w+)`", page.read_text(encoding="utf-8"))
    there = {path: set(re.findall(r"(?m)^def (test_\w+)", (ROOT / path).read_text())) for path, _ in named}
    assert [f"{path}::{name}" for path, name in named if name not in there[path]] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_modules_exist(page):
    names = set(re.findall(r"python -m (benchmarks[a-z0-9_.]*)(?![a-z0-9_.A-Z])", page.read_text(encoding="utf-8")))
    found = [ROOT / Path(*name.split(".")) for name in names]
    assert [str(p) for p in found if not (p.with_suffix(".py").is_file() or (p / "__main__.py").is_file())] == []


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 160


def test_makefile_targets_that_pages_name_exist():
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in PAGES:
        assert set(re.findall(r"(?m)(?:^|`)make ([a-z-]+)", page.read_text(encoding="utf-8"))) <= known, page.name
