"""What became of a queue, as a table and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from vinr_engine.errors import printable
from vinr_engine.video.io.carried import CONVERTED, COPIED, LEFT_OUT, Carried, in_words

if TYPE_CHECKING:
    from vinr_engine.video.job import Seconds
    from vinr_engine.video.summary import Summary

from .queue import STATUSES, Entry

COLUMNS = ("status", "frames", "size", "seconds", "input", "output, or why there is none")
NUMBERS = ("frames", "size", "seconds")


def as_line(entry: Entry) -> str:
    """One clip on one line."""
    if entry.summary is None:
        return f"{entry.pair.src}: {entry.status}{': ' if entry.reason else ''}{entry.reason}"
    summary = entry.summary
    width, height = summary.size
    rate = "" if summary.rate is None else f", {float(summary.rate):.6g} fps"
    cuts = f", {summary.cuts} scene cut{'s' if summary.cuts > 1 else ''}" if summary.cuts else ""
    return (
        f"{summary.path}: {_frames(summary.frames_out)} from {summary.frames_in}, {width}x{height}{rate}{cuts}, "
        f"{summary.seconds:.1f} s, weights: {summary.weights}"
    )


def stages(seconds: Seconds) -> str:
    """Where the time went, on one line."""
    return (
        f"compute {seconds.compute:.1f} s, beside it decode {seconds.decode:.1f} s and encode {seconds.encode:.1f} s; "
        f"waiting {seconds.waiting:.1f} s, joining {seconds.join:.1f} s"
    )


def fidelity(summary: Summary) -> str:
    """What of the input is in the output, and what is not, on one line; a note said why, before the run."""
    faults = summary.faults
    counts = {"repaired": faults.repaired, "held": faults.held, "dropped": faults.dropped, "repeated": summary.repeats}
    faulty = [f"{count} {name}" for name, count in counts.items() if count]
    parts = [", ".join([f"read {_frames(summary.frames_read)}", *faulty])]
    for became in (COPIED, CONVERTED, LEFT_OUT):
        streams = [_stream(stream) for stream in summary.streams if stream.became == became]
        if streams:
            parts.append(f"{became}: {', '.join(streams)}")
    for name, properties in (("kept", summary.kept), ("not kept", summary.left_out)):
        if properties:
            parts.append(f"{name}: {in_words(properties)}")
    return printable("; ".join(parts))


def _frames(count: int) -> str:
    return f"{count} frame{'' if count == 1 else 's'}"


def _stream(stream: Carried) -> str:
    """A stream in a few words, such as "audio eng (ac3 to aac)"."""
    about = f"{stream.codec} to {stream.to}" if stream.to and stream.to != stream.codec else stream.codec
    return " ".join(text for text in (stream.kind, stream.language, f"({about})" if about else "") if text)


def as_text(entries: Sequence[Entry]) -> str:
    """A table of all clips, and their totals below it."""
    rows = [COLUMNS, *map(_row, entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = zip(row, widths, COLUMNS, strict=True)
        lines.append("  ".join(c.rjust(w) if name in NUMBERS else c.ljust(w) for c, w, name in cells).rstrip())
    totals = _totals(entries)
    counts = ", ".join(f"{totals[name]} {name}" for name in STATUSES if totals[name])
    return "\n".join([*lines, f"{counts}; {totals['frames']} frames in {totals['seconds']:.1f} s"])


def as_json(entries: Sequence[Entry]) -> str:
    """One object: `jobs`, with the fields of Summary of those that are done, and `totals`."""
    return json.dumps({"jobs": [_job(entry) for entry in entries], "totals": _totals(entries)}, indent=2, default=str)


def _row(entry: Entry) -> tuple[str, ...]:
    if entry.summary is None:
        return entry.status, "-", "-", "-", entry.pair.src, entry.reason
    summary = entry.summary
    width, height = summary.size
    numbers = str(summary.frames_out), f"{width}x{height}", f"{summary.seconds:.1f}"
    return entry.status, *numbers, entry.pair.src, summary.path


def _job(entry: Entry) -> dict[str, Any]:
    facts: dict[str, Any] = {"src": entry.pair.src, "dst": entry.pair.dst, "status": entry.status}
    if entry.summary is not None:
        summary = entry.summary
        facts |= asdict(summary) | {"frames_read": summary.frames_read, "audio_streams": summary.audio_streams}
    if entry.reason:
        facts["reason"] = entry.reason
    if entry.error:
        facts["error"] = entry.error
    return facts


def _totals(entries: Sequence[Entry]) -> dict[str, Any]:
    counts = Counter(entry.status for entry in entries)
    summaries = [entry.summary for entry in entries if entry.summary is not None]
    return {
        **{status: counts[status] for status in STATUSES},
        "frames": sum(summary.frames_out for summary in summaries),
        "seconds": sum(summary.seconds for summary in summaries),
    }
