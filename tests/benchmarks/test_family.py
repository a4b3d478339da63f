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
    about, _, head, _, row, *_ = page.text_of(tmp_path / "rows.csv").splitlines()
    assert f"torch {torch.__version__}, at " in about
    assert [cell.strip() for cell in head.split("|")[2:-1]] == list(page.HEAD)
    assert row.startswith("| a product | ")
    assert row.count("x)") == 2


def test_each_machine_has_a_table_of_its_last_rows(run, tmp_path):
    path = tmp_path / "rows.csv"
    for ours in (lambda x: x @ x + 1, lambda x: x @ x):
        run([case(ours)], "--repeats", "3")
    text = path.read_text()
    head, *rows = text.splitlines(keepends=True)
    other = next(csv.DictReader([head, *rows]))["torch"]
    path.write_text(text + "".join(row.replace(other, "another torch") for row in rows[:3]))
    last, first = page.text_of(path).split("kernels, torch ")[1:]
    assert last.startswith("another torch")
    assert "| wrong | wrong |" in last
    assert "wrong" not in first


def test_the_readme_shows_the_cases_it_names(run, tmp_path):
    one = next(iter(page.CHOSEN))
    run([Case(one, case(lambda x: x @ x).make), case(lambda x: x @ x)], "--repeats", "3")
    text = page.readme_text(tmp_path / "rows.csv")
    assert page.CHOSEN[one] in text
    assert "a product" not in text


def test_the_cases_of_the_readme_are_there():
    published = "liif real weights 48x48 x4"  # where the weights are
    assert set(page.CHOSEN) - {published} <= {case.name for case in command.all_cases()}


def test_the_page_says_what_was_wrong(run, tmp_path):
    run([case(lambda x: x @ x + 1)], "--repeats", "3")
    assert "| wrong | wrong |" in page.text_of(tmp_path / "rows.csv")
