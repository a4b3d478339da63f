"""The folder beside an output that keeps what is done of it, so that a run that ended early can be taken up again.

`.NAME.vinr` holds chunks, each the coded pictures of one segment, and a journal: a line of JSON that says what is being
made, a line for each chunk that is complete, and one for each step of the end. A line is on the disk before anything
relies on it; what no line names is left over from a run that was killed, and is removed.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

from vinr_engine import files
from vinr_engine.errors import SinkError, UsageError, reason

from .io.packets import PacketFile
from .io.source import Faults

JOURNAL = "journal.jsonl"
OLD = "old"
"""A folder that stood under the output's name, until the new one does."""


@dataclass(frozen=True)
class Mark:
    """Where a segment begins, and all that has to be known of what came before.

    ``frame``: number of the input frame whose span goes on, which lies at ``time``; ``emitted`` of the span's output
    frames are done. ``since``: the time of the first frame to read, that one or the one before, which a hold looks back
    at. ``first``: the first frame's time. ``digest``: of the frame, see `files.digest`. ``frames_out`` and ``cuts``:
    output frames before the segment, scene cuts before the span. ``repeats`` and ``faults``: see Counts; up to the
    input frame, its own among them. ``unkept``: see Counts; of all that was read. All times in seconds.
    """

    frame: int
    emitted: int
    time: Fraction
    since: Fraction
    first: Fraction
    digest: str
    frames_out: int
    cuts: int
    repeats: int = 0
    faults: Faults = field(default_factory=Faults)
    unkept: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For `from_json`."""
        return {k: str(v) if isinstance(v, Fraction) else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> Mark:
        """The mark of such facts."""
        read: dict[str, Any] = {k: Fraction(v) if k in ("time", "since", "first") else v for k, v in facts.items()}
        read["faults"] = Faults(**read["faults"])
        read["unkept"] = tuple(read["unkept"])
        return cls(**read)


@dataclass(frozen=True)
class Chunk:
    """A complete segment: its file, the pts of its last packet in the order of showing, and what comes after it."""

    number: int
    path: Path
    frames: int
    bytes: int
    sha256: str
    last: int
    mark: Mark | None


@dataclass(frozen=True)
class Counts:
    """Frames used and written, scene cuts, frames that repeat the one before, and faults of the input; ``unkept``: by
    name, what its frames carry that no output keeps."""

    frames_in: int
    frames_out: int
    cuts: int
    repeats: int = 0
    faults: Faults = field(default_factory=Faults)
    unkept: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> Counts:
        """The counts of what asdict makes of them."""
        return cls(**{**facts, "faults": Faults(**facts["faults"]), "unkept": tuple(facts["unkept"])})


class Journal:
    """The journal of the output ``dst``, locked against other runs within a with block.

    Raises SinkError where another run holds it, and where its folder cannot be made or written.
    """

    def __init__(self, dst: str) -> None:
        self.dst = dst
        self.final = Path(os.path.abspath(dst))
        self.folder = files.beside(self.final, ".", ".vinr")
        self.head: dict[str, Any] | None = None
        self.chunks: list[Chunk] = []
        self.counts: Counts | None = None
        """Of the whole clip, once all of it is in chunks."""
        self.placed = 0
        """Chunks that have been turned into images of the result."""
        self.joined = False
        """Whether the result is complete, and only has to take its name."""
        self._partial = False
        self._file: int | None = None

    @property
    def exists(self) -> bool:
        """Whether there is anything of an earlier run."""
        return (self.folder / JOURNAL).is_file()

    @property
    def result(self) -> Path:
        """Where the joined output is made."""
        return self.folder / f"result{self.final.suffix}"

    def __enter__(self) -> Journal:
        with files.reported(self.dst):
            self._file = self._locked()
            self._read()
        return self

    def _locked(self) -> int:
        """The journal's file, open and locked. SinkError, OSError."""
        while True:
            self.folder.mkdir(exist_ok=True)
            try:
                file = os.open(self.folder / JOURNAL, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            except FileNotFoundError:
                continue  # another run has just ended, and removed the folder
            except OSError:
                self.tidy()
                raise
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                raise SinkError(f"another run is making {self.dst}") from None
            except OSError:
                return file  # a file system without locks
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file), os.stat(self.folder / JOURNAL)):
                    return file
            os.close(file)  # it was removed before it was locked

    def tidy(self) -> None:
        """Remove what is left of a run that was killed as its last step was under way: an empty folder."""
        if not self.exists:
            with suppress(OSError):
                self.folder.rmdir()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.chunks and self.folder.exists():
            self.remove()  # nothing is lost
        assert self._file is not None
        os.close(self._file)

    def _read(self) -> None:
        """Take what holds of the journal, and remove what it does not name."""
        assert self._file is not None
        size = 0
        for text in os.pread(self._file, os.fstat(self._file).st_size, 0).splitlines(keepends=True):
            try:
                if not text.endswith(b"\n") or not self._take(json.loads(text)):
                    break
            except (ValueError, KeyError, TypeError):
                break
            size += len(text)
        # What follows was being written when the run ended.
        os.ftruncate(self._file, size)
        if self.finished:
            return
        if (self.folder / OLD).exists() and not self.final.exists():
            os.rename(self.folder / OLD, self.final)  # until the new one takes its place
        if not self.result.exists():
            self.joined, self.placed = False, 0
        for chunk in self.chunks[self.placed :]:
            if not chunk.path.is_file() or chunk.path.stat().st_size != chunk.bytes:
                self.drop(chunk)
                break
        kept = {JOURNAL, OLD, *(chunk.path.name for chunk in self.chunks)}
        if self.placed or self.joined:
            kept.add(self.result.name)
        self._keep(kept)

    def _take(self, line: dict[str, Any]) -> bool:
        """One line; whether it fits those before."""
        if "arguments" in line:
            self.head = line
        elif "chunk" in line:
            chunk = self._chunk(line)
            if chunk.number != len(self.chunks):
                return False
            self.chunks.append(chunk)
            self.counts = Counts.from_json(line["counts"]) if "counts" in line else None
        elif "counts" in line:
            self.counts = Counts.from_json(line["counts"])
        elif "placed" in line:
            self.placed = line["placed"]
        elif "joined" in line:
            self.joined = line["joined"]
        elif "partial" in line:
            self._partial = line["partial"]
        return self.head is not None

    def _chunk(self, line: dict[str, Any]) -> Chunk:
        facts = dict(line)
        number = facts.pop("chunk")
        mark = facts.pop("mark")
        facts.pop("counts", None)
        return Chunk(number, self._path(number), **facts, mark=None if mark is None else Mark.from_json(mark))

    def _path(self, number: int) -> Path:
        return self.folder / f"chunk-{number:06d}.packets"

    def _write(self, line: dict[str, Any]) -> None:
        """Add a line, on the disk when this returns, or not at all."""
        assert self._file is not None
        data = json.dumps(line).encode() + b"\n"
        before = os.fstat(self._file).st_size
        with files.reported(self.dst):
            try:
                written = os.write(self._file, data)
                while written < len(data):
                    written += os.write(self._file, data[written:])
                os.fsync(self._file)
            except OSError:
                os.ftruncate(self._file, before)
                raise

    def _rewrite(self, lines: list[dict[str, Any]]) -> None:
        """The journal with these lines alone, at once. SinkError."""
        assert self._file is not None
        path = self.folder / f"{JOURNAL}.draft"
        with files.reported(self.dst), open(path, "wb") as file:
            file.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
            new = os.open(path, os.O_RDWR | os.O_APPEND)
            try:
                with suppress(OSError):  # see _locked
                    fcntl.flock(new, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.replace(path, self.folder / JOURNAL)
                files.sync(self.folder)
            except OSError:
                os.close(new)
                raise
        os.close(self._file)
        self._file = new

    @property
    def finished(self) -> bool:
        """Whether the output has taken its place already, and only the folder is left."""
        return self.joined and not self.result.exists() and self.final.exists()

    def begin(self, head: dict[str, Any], restart: bool) -> dict[str, Any]:
        """Begin, or go on with what there is; what is settled, as it was when it began. UsageError: see `refuse`."""
        if self.chunks and not restart:
            assert self.head is not None
            try:
                refuse(self.dst, self.head, head)
            except UsageError:
                if not self.finished:
                    raise
            else:
                return dict(self.head["settled"])
        self._clear()
        self._rewrite([head, *([{"partial": True}] if self._partial else [])])
        self.head = head
        return dict(head["settled"])

    def _clear(self) -> None:
        """Remove all that is done, which makes room for the new journal; the old one names what is not there."""
        self.head, self.counts, self.joined, self.placed = None, None, False, 0
        self.chunks = []
        with files.reported(self.dst):
            self._keep({JOURNAL})

    def _keep(self, names: set[str]) -> None:
        """Remove all else from the folder."""
        for path in [*self.folder.iterdir()]:
            if path.name not in names:
                _unlink(path)

    @property
    def mark(self) -> Mark | None:
        """Where to go on; None for the beginning, and where all is in chunks."""
        return self.chunks[-1].mark if self.chunks else None

    @property
    def last(self) -> int:
        """The pts of the last packet that is kept; -1 without any."""
        return self.chunks[-1].last if self.chunks else -1

    @property
    def frames(self) -> int:
        """Output frames that are kept."""
        return sum(chunk.frames for chunk in self.chunks)

    def draft(self) -> Path:
        """Where the next chunk is written."""
        path = self._path(len(self.chunks))
        return path.with_suffix(".draft")

    def commit(self, frames: int, last: int, mark: Mark | None, counts: Counts | None = None) -> None:
        """The draft is complete: keep it as the next chunk, ``counts`` with the last one. SinkError."""
        draft = self.draft()
        number = len(self.chunks)
        path = self._path(number)
        with files.reported(self.dst):
            size, digest = draft.stat().st_size, files.digest(draft)
            files.sync(draft)
            os.replace(draft, path)
            files.sync(self.folder)
        chunk = Chunk(number, path, frames, size, digest, last, mark)
        facts: dict[str, Any] = {"chunk": number, "frames": frames, "bytes": size, "sha256": digest, "last": last}
        facts["mark"] = None if mark is None else mark.as_json()
        try:
            self._write(facts if counts is None else {**facts, "counts": asdict(counts)})
        except SinkError:
            path.unlink()
            raise
        self.chunks.append(chunk)
        self.counts = counts

    def open(self, chunk: Chunk) -> PacketFile:
        """A chunk's packets; SinkError if they are not those that were written: it is forgotten then."""
        try:
            if files.digest(chunk.path) == chunk.sha256:
                return PacketFile(chunk.path)
            problem = "is damaged"
        except OSError as error:
            problem = f"cannot be read: {reason(error)}"
        self.drop(chunk)
        raise SinkError(f"{chunk.path} {problem}: the same command makes it again, and what follows it")

    def complete(self, counts: Counts) -> None:
        """All of the clip is in chunks already."""
        self._write({"counts": asdict(counts)})
        self.counts = counts

    def place(self, chunk: Chunk) -> None:
        """A chunk's images are on the disk: it is not needed any more."""
        self._write({"placed": chunk.number + 1})
        self.placed = chunk.number + 1
        chunk.path.unlink(missing_ok=True)

    def drop(self, chunk: Chunk) -> None:
        """Forget a chunk that is damaged or lost, and those that follow it; images in their places stay."""
        assert self._file is not None
        lines = [json.loads(line) for line in os.pread(self._file, os.fstat(self._file).st_size, 0).splitlines()]
        gone = {"joined", "counts"}
        self._rewrite(
            [
                line
                for line in lines
                if not gone & line.keys()
                and line.get("chunk", -1) < chunk.number
                and line.get("placed", 0) <= self.placed
            ]
        )
        self.chunks, self.counts, self.joined = self.chunks[: chunk.number], None, False

    def rename(self, ours: re.Pattern[str] | None, overwrite: bool) -> None:
        """Put the result in the output's place, safely on the disk; see `files.draft` for ``ours``.

        SinkError, also where something has appeared there since the run began, without ``overwrite``.
        """
        with files.reported(self.dst):
            files.sync(self.result)
            if not self.joined:
                self._write({"joined": True})
                self.joined = True
            if not overwrite:
                try:
                    files.rename_new(self.result, self.final)
                except FileExistsError:
                    raise SinkError(f"{self.dst} has appeared meanwhile: --overwrite replaces it") from None
                files.sync(self.final.parent)
                return
            if self.result.is_dir() and self.final.exists():
                if ours is not None and files.foreign(self.final, ours) is not None:
                    raise SinkError(f"{self.dst} holds other files now: empty it, and the same command goes on")
                os.rename(self.final, self.folder / OLD)
            os.replace(self.result, self.final)
            files.sync(self.final.parent)

    def discard(self) -> None:
        """Remove a result that is not complete, for its space; images that are in their places stay."""
        if not (self.joined or self.placed) and self.result.exists():
            with files.reported(self.dst):
                _unlink(self.result)

    @property
    def _partial_path(self) -> Path:
        return files.beside(self.final.with_suffix(""), "", f".partial{self.final.suffix}")

    def partial(self) -> Path:
        """Where to write what is done so far; it goes when the output is complete. SinkError."""
        if not self._partial:
            if self._partial_path.exists():
                raise SinkError(f"{self._partial_path} exists, and is of another origin: move it away")
            self._write({"partial": True})
            self._partial = True
        return self._partial_path

    def remove(self) -> None:
        """Remove the folder; the journal last, as it says what the rest is."""
        with files.reported(self.dst):
            if self._partial:
                files.sweep(self._partial_path)
                if self._partial_path.exists():
                    _unlink(self._partial_path)
            self.chunks, self.counts = [], None
            self._keep({JOURNAL})
            (self.folder / JOURNAL).unlink()
        with suppress(OSError):  # another run begins there
            self.folder.rmdir()


def sweep(dst: str) -> None:
    """Remove the folder of a run that was killed after its output had taken its place, if there is one."""
    journal = Journal(dst)
    journal.tidy()
    if journal.exists:
        with suppress(SinkError), journal:
            if journal.finished:
                journal.remove()


def _unlink(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def refuse(dst: str, begun: dict[str, Any], asked: dict[str, Any]) -> None:
    """UsageError unless a run that was begun is the one that is asked for: it names what differs, both ways."""

    def said(arguments: dict[str, str]) -> str:
        return " ".join(f"{name} {arguments[name]}" for name in differing) or "nothing"

    restart = "--restart drops what is done of it"
    if begun["vinr"] != asked["vinr"]:
        raise UsageError(f"{dst} was begun by vinr {begun['vinr']}, and this is {asked['vinr']}: {restart}")
    if begun["source"] != asked["source"]:
        raise UsageError(
            f"{dst} was begun from {begun['source']['name']}, and {asked['source']['name']} is another source or has "
            f"changed: {restart}"
        )
    if begun["weights"]["digest"] != asked["weights"]["digest"]:
        names = begun["weights"]["name"], asked["weights"]["name"]
        raise UsageError(f"{dst} was begun with the weights {names[0]}, and {names[1]} are others: {restart}")
    differing = [name for name, value in asked["arguments"].items() if begun["arguments"].get(name) != value]
    if differing:
        raise UsageError(
            f"{dst} was begun with {said(begun['arguments'])}, and now {said(asked['arguments'])} is asked for: give "
            f"the former to go on, or {restart}"
        )
