"""Write the table of docs/drop-ins.md from the last run that `python -m benchmarks.family --out` stored.

python -m benchmarks.family.page
"""

from __future__ import annotations

import csv
from pathlib import Path

from benchmarks.common.machine import ROOT
from benchmarks.common.markdown import replaced, table

ROWS = ROOT / "benchmarks" / "results" / "family.csv"
PAGE = ROOT / "docs" / "drop-ins.md"
MARKERS = (
    "<!-- family: written by `python -m benchmarks.family.page` from here -->",
    "<!-- family: to here -->",
)
HEAD = ("", "straight, eager", "compiled", "ours, float32", "ours, bfloat16")


def seconds(row: dict[str, str] | None) -> str:
    """A time, and how many times faster than the straight form it is; what was wrong or not measured says so."""
    if row is None:
        return ""
    if not row["median_s"]:
        return "wrong"
    time = float(row["median_s"])
    text = f"{time:.3g} s" if time >= 1 else f"{1e3 * time:.3g} ms"
    return text if row["form"] == "straight" else f"{text} ({float(row['times_faster']):.3g}x)"


def text_of(path: Path = ROWS) -> str:
    """The table, and what it was measured with."""
    with path.open(newline="", encoding="utf-8") as file:
        found: dict[str, dict[str, dict[str, str]]] = {}
        for row in csv.DictReader(file):
            found.setdefault(row["case"], {})[row["form"]] = row
    rows = [
        (case, *(seconds(forms.get(form)) for form in ("straight", "compiled", "ours", "ours bf16")))
        for case, forms in sorted(found.items())
    ]
    commits = sorted({row["commit"] for forms in found.values() for row in forms.values()})
    torches = sorted({row["torch"] for forms in found.values() for row in forms.values()})
    return f"{table(HEAD, rows)}\nCommit {', '.join(commits)}, torch {', '.join(torches)}."


def main() -> None:
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), text_of(), MARKERS, PAGE.name), encoding="utf-8")


if __name__ == "__main__":
    main()
