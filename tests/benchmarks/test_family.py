import csv

import pytest
import torch

from benchmarks.family import __main__ as command
from benchmarks.family import page
from benchmarks.family.case import Case, Forms


def case(ours, **more):
    x = torch.rand(30, 30)
    return Case("a product", lambda: Forms(lambda: x @ x, lambda: ours(x), lambda: ours(x)), **more)


@pytest.fixture
def run(monkeypatch, tmp_path):
    def run(cases, *arguments):
        monkeypatch.setattr(command, "all_cases", lambda: cases)
        monkeypatch.setattr("sys.argv", ["family", "--no-compile", "--out", str(tmp_path / "rows.csv"), *arguments])
        code = command.main()
        path = tmp_path / "rows.csv"
        return code, list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []

    return run


def test_every_form_has_a_row(run, capsys):
    code, rows = run([case(lambda x: x.mm(x), wanted=2.0)], "--repeats", "3")
    assert code == 0
    assert [row["form"] for row in rows] == ["straight", "ours", "ours bf16"]
    assert [row["wanted"] for row in rows] == ["", "2", "2"]
    assert all(float(row["median_s"]) > 0 for row in rows)
    assert "(wanted 2x)" in capsys.readouterr().out


def test_a_wrong_form_gets_no_time(run, capsys):
    code, rows = run([case(lambda x: x @ x + 1)], "--repeats", "3")
    assert code == 1
    assert {row["form"]: row["median_s"] != "" for row in rows} == {
        "straight": True, "ours": False, "ours bf16": False
    }  # fmt: skip
    assert "WRONG" in capsys.readouterr().out


def test_names(run, capsys):
    assert run([case(lambda x: x @ x)], "--only", "nothing")[0] == 2
    assert "no case's name holds 'nothing'" in capsys.readouterr().err


def test_the_cases_of_this_package():
    names = [case.name for case in command.all_cases()]
    assert names
    assert len(set(names)) == len(names)


def test_the_page_has_what_was_stored(run, tmp_path):
    run([case(lambda x: x.mm(x), wanted=2.0)], "--repeats", "3")
    text = page.text_of(tmp_path / "rows.csv")
    head, _, row, *_ = text.splitlines()
    assert [cell.strip() for cell in head.split("|")[2:-1]] == list(page.HEAD[1:])
    assert row.startswith("| a product | ")
    assert row.count("x)") == 2


def test_the_page_says_what_was_wrong(run, tmp_path):
    run([case(lambda x: x @ x + 1)], "--repeats", "3")
    assert "| wrong | wrong |" in page.text_of(tmp_path / "rows.csv")
