"""Write the tables of docs/drop-ins.md and of README.md from the rows that `python -m benchmarks.family --out` stored.

    python -m benchmarks.family.page

Of a case that was measured several times on one machine, the last time counts.
"""

from __future__ import annotations

import csv
from pathlib import Path

from benchmarks.common.machine import ROOT
from benchmarks.common.markdown import replaced, table

ROWS = ROOT / "benchmarks" / "results" / "family.csv"
PAGE, README = ROOT / "docs" / "drop-ins.md", ROOT / "README.md"
MARKERS = (
    "<!-- family: written by `python -m benchmarks.family.page` from here -->",
    "<!-- family: to here -->",
)
FORMS = ("straight", "compiled", "ours", "ours bf16")
HEAD = ("straight, eager", "compiled", "ours, float32", "ours, bfloat16")
# What README shows, as it calls it; of the machine that was measured last.
CHOSEN = {
    "bf_stvsr 90x160 x4, 1 time": "BF-STVSR's query, 90x160 x4",
    "bf_stvsr 90x160 x4, 7 times": "the same at 7 times",
    "motif 90x160 x4, 7 times": "MoTIF's query, 90x160 x4, 7 times",
    "v3 48x48 x4, time x8": "V3's query, 48x48 x4, time x8",
    "lte 160x90 x4": "LTE's query, 160x90 x4",
    "liif real weights 48x48 x4": "LIIF's query on the published weights, 48x48 x4",
    "splat soft 130 channels 180x320": "softsplat, 130 channels, 180x320",
    "deform_attention 96x96": "RVRT's attention, 180 channels, 96x96",
}

Machine = tuple[str, str, str]
"""CPU, variant of the kernels, torch."""
Forms = dict[str, dict[str, str]]
"""Rows by their form."""


def stored(path: Path = ROWS) -> dict[Machine, dict[str, Forms]]:
    """The last row of each machine, case and form; the machine that was measured last comes last."""
    found: dict[Machine, dict[str, Forms]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            machine = row["cpu"], row["variant"], row["torch"]
            found[machine] = cases = found.pop(machine, {})
            cases.setdefault(row["case"], {})[row["form"]] = row
    return found


def seconds(row: dict[str, str] | None) -> str:
    """A time, and how many times faster than the straight form it is; what was wrong or not measured says so."""
    if row is None:
        return ""
    if not row["median_s"]:
        return "wrong"
    time = float(row["median_s"])
    text = f"{time:.3g} s" if time >= 1 else f"{1e3 * time:.3g} ms"
    return text if row["form"] == "straight" else f"{text} ({float(row['times_faster']):.3g}x)"


def lines(cases: dict[str, Forms], names: dict[str, str]) -> list[tuple[str, ...]]:
    """Of those cases that there are, by the names they shall have."""
    return [
        (shown, *(seconds(cases[case].get(form)) for form in FORMS)) for case, shown in names.items() if case in cases
    ]


def measured_on(machine: Machine, cases: dict[str, Forms]) -> str:
    cpu, variant, torch = machine
    rows = [row for forms in cases.values() for row in forms.values()]
    threads, commits = (sorted({row[name] for row in rows}) for name in ("threads", "commit"))
    return f"{cpu}, {' and '.join(threads)} threads, {variant} kernels, torch {torch}, at {' and '.join(commits)}"


def text_of(path: Path = ROWS) -> str:
    """A table for each machine."""
    parts = [
        f"{measured_on(machine, cases)}:\n\n{table(('', *HEAD), lines(cases, {case: case for case in sorted(cases)}))}"
        for machine, cases in reversed(stored(path).items())
    ]
    return "\n".join(parts)


def readme_text(path: Path = ROWS) -> str:
    """What stands out, of the machine that was measured last."""
    machine, cases = list(stored(path).items())[-1]
    chosen = lines(cases, CHOSEN)
    return f"{table(('times, and against the straight form', *HEAD), chosen)}\n{measured_on(machine, cases)}."


def main() -> None:
    for page, text in ((PAGE, text_of()), (README, readme_text())):
        page.write_text(replaced(page.read_text(encoding="utf-8"), text, MARKERS, page.name), encoding="utf-8")


if __name__ == "__main__":
    main()
