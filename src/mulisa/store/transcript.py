"""What was said: written by the agent process, read by everybody else.

A room's entries belong to *calls*. A call begins with its first words and ends when the room is
empty (`TranscriptStore.end_call`). Two things continue a call instead of beginning another one:
words less than `RELOAD_GRACE` after its end (somebody alone reloaded the page), and words less
than `CRASH_GRACE` after the last ones of a call that was never ended, because the process died.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from mulisa.core.errors import ConfigError
from mulisa.core.room import Identity, RoomName
from mulisa.core.transcript import TranscriptEntry
from mulisa.store.database import FILE_NAME, open_reader, open_writer

RELOAD_GRACE: Final = timedelta(seconds=30)
CRASH_GRACE: Final = timedelta(hours=1)

_T = TypeVar("_T")
_COLUMNS: Final = (
    "segment_id, identity, name, kind, source, text, started_at, ended_at, interrupted, unspoken,"
    " listener"
)


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said in one call, or in several calls of one room."""

    room: RoomName
    started_at: datetime
    """When the (first) call began, UTC; exported times count from here."""
    ended_at: datetime | None
    """None while the (last) call goes on."""
    entries: Sequence[TranscriptEntry]
    """In the order in which people began to speak."""

    def seen_by(self, identity: Identity) -> Transcript:
        """Without what was whispered to others; the operator sees it all."""
        return replace(self, entries=tuple(e for e in self.entries if e.is_for(identity)))


class TranscriptStore:
    """The writer: `core.transcript.TranscriptLog` on disk, one thread with one connection.

    Opening raises ConfigError when the folder cannot be written. All methods belong to one
    event loop. Cancelling `append` does not undo it: the entry may still reach the disk.
    """

    def __init__(self, data: Path) -> None:
        self._path = data / FILE_NAME
        self._connection = open_writer(self._path)
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="transcript")
        self._calls: dict[RoomName, int] = {}
        self._closed = False

    async def end_call(self, room: RoomName) -> None:
        """The room is empty: end its call, also one that another process left open by dying."""
        await self._run(lambda: self._end(room, _now()))

    async def append(self, room: RoomName, entry: TranscriptEntry) -> None:
        """Return once the entry is on disk. A segment that is there already is replaced.

        Raises ConfigError when the disk refuses.
        """
        await self._run(lambda: self._append(room, entry))

    async def recent(self, room: RoomName, limit: int) -> Sequence[TranscriptEntry]:
        """The last `limit` entries of the room's current call, oldest first."""
        return await self._run(lambda: self._recent(room, limit))

    async def aclose(self) -> None:
        """Finish what was asked for and close the file. Idempotent."""
        if self._closed:
            return
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._writer, self._connection.close)
        self._writer.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _run(self, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._writer, work)
        except sqlite3.Error as error:
            raise ConfigError(f"cannot write the transcript in {self._path}: {error}") from error

    # What follows runs in the writer thread.

    def _current_call(self, room: RoomName, now: datetime) -> int:
        """In a transaction: the call that words of `now` belong to, begun if need be."""
        if room in self._calls:
            return self._calls[room]
        call = _call_to_continue(self._connection, room, now)
        if call is None:
            insert = "INSERT INTO calls (room, started_at) VALUES (?, ?)"
            call = self._connection.execute(insert, (room, _iso(now))).lastrowid
        self._connection.execute("UPDATE calls SET ended_at = NULL WHERE call_id = ?", (call,))
        assert call is not None
        return call

    def _end(self, room: RoomName, now: datetime) -> None:
        call = self._calls.pop(room, None) or _call_to_continue(self._connection, room, now)
        self._connection.execute(
            "UPDATE calls SET ended_at = ? WHERE call_id = ? AND ended_at IS NULL",
            (_iso(now), call),
        )

    def _append(self, room: RoomName, entry: TranscriptEntry) -> None:
        values = _row(entry)
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            call = self._current_call(room, entry.started_at)
            known = self._connection.execute(
                "SELECT entry_id, call_id FROM entries JOIN calls USING (call_id)"
                " WHERE segment_id = ? AND room = ?",
                (entry.segment_id, room),
            ).fetchone()
            self._connection.execute(
                f"INSERT OR REPLACE INTO entries (entry_id, call_id, {_COLUMNS})"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*(known or (None, call)), *values),
            )
        self._calls[room] = call  # only now: a call that was rolled back is none

    def _recent(self, room: RoomName, limit: int) -> Sequence[TranscriptEntry]:
        call = self._calls.get(room) or _call_to_continue(self._connection, room, _now())
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM entries WHERE call_id = ?"
            " ORDER BY started_at DESC, entry_id DESC LIMIT ?",
            (call, max(0, limit)),
        ).fetchall()
        return tuple(_entry(row) for row in reversed(rows))


class TranscriptReader:
    """Reads while the agent process writes. Blocks for as long as a disk does; any thread."""

    def __init__(self, data: Path) -> None:
        self._path = data / FILE_NAME

    def rooms(self) -> list[RoomName]:
        """Rooms in which something was ever said, the latest call first."""
        rows = self._fetch(
            "SELECT room FROM calls JOIN entries USING (call_id)"
            " GROUP BY room ORDER BY max(call_id) DESC"
        )
        return [RoomName(room) for (room,) in rows]

    def latest(self, room: RoomName) -> Transcript | None:
        """The latest call of the room in which something was said; None if there is none.

        Raises ConfigError if the file is not a transcript of ours.
        """
        calls = self._calls(room)
        return self._transcript(room, calls[-1:]) if calls else None

    def everything(self, room: RoomName) -> Transcript | None:
        """All calls of the room as one; None if nothing was ever said in it."""
        calls = self._calls(room)
        return self._transcript(room, calls) if calls else None

    def _calls(self, room: RoomName) -> list[tuple[int, str, str | None]]:
        rows = self._fetch(
            "SELECT call_id, started_at, ended_at FROM calls WHERE room = ? AND EXISTS"
            " (SELECT 1 FROM entries WHERE entries.call_id = calls.call_id) ORDER BY call_id",
            room,
        )
        return [(int(call), started_at, ended_at) for call, started_at, ended_at in rows]

    def _transcript(
        self, room: RoomName, calls: Sequence[tuple[int, str, str | None]]
    ) -> Transcript:
        rows = self._fetch(
            f"SELECT {_COLUMNS} FROM entries WHERE call_id IN"
            f" ({', '.join('?' * len(calls))}) ORDER BY call_id, started_at, entry_id",
            *(call for call, _, _ in calls),
        )
        ended_at = calls[-1][2]
        return Transcript(
            room=room,
            started_at=datetime.fromisoformat(calls[0][1]),
            ended_at=datetime.fromisoformat(ended_at) if ended_at else None,
            entries=tuple(_entry(row) for row in rows),
        )

    def _fetch(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        connection = open_reader(self._path)
        if connection is None:
            return []
        with closing(connection):
            try:
                return connection.execute(query, parameters).fetchall()
            except sqlite3.Error as error:
                raise ConfigError(f"cannot read the transcript in {self._path}: {error}") from error


def _call_to_continue(connection: sqlite3.Connection, room: RoomName, now: datetime) -> int | None:
    row = connection.execute(
        "SELECT call_id, calls.ended_at, max(calls.started_at, ifnull(max(entries.ended_at), ''))"
        " FROM calls LEFT JOIN entries USING (call_id)"
        " WHERE room = ? GROUP BY call_id ORDER BY call_id DESC LIMIT 1",
        (room,),
    ).fetchone()
    if row is None:
        return None
    call, ended_at, last_heard_at = row
    if ended_at is None:
        continues = now - datetime.fromisoformat(last_heard_at) < CRASH_GRACE
    else:
        continues = now - datetime.fromisoformat(ended_at) < RELOAD_GRACE
    return int(call) if continues else None


def _row(entry: TranscriptEntry) -> tuple[object, ...]:
    return (
        _utf8(entry.segment_id),
        _utf8(entry.identity),
        _utf8(entry.name),
        entry.kind,
        entry.source,
        _utf8(entry.text),
        _iso(entry.started_at),
        _iso(entry.ended_at),
        int(entry.interrupted),
        _utf8(entry.unspoken),
        None if entry.listener is None else _utf8(entry.listener),
    )


def _entry(row: Sequence[object]) -> TranscriptEntry:
    segment_id, identity, name, kind, source, text, started_at, ended_at, cut, unspoken, to = row
    return TranscriptEntry(
        segment_id=str(segment_id),
        identity=Identity(str(identity)),
        name=str(name),
        kind="agent" if kind == "agent" else "standard",
        source="chat" if source == "chat" else "voice",
        text=str(text),
        started_at=datetime.fromisoformat(str(started_at)),
        ended_at=datetime.fromisoformat(str(ended_at)),
        interrupted=bool(cut),
        unspoken=str(unspoken),
        listener=None if to is None else Identity(str(to)),
    )


def _utf8(text: str) -> str:
    """JSON may carry half a surrogate pair, which no file can hold."""
    return text.encode(errors="replace").decode()


def _iso(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError("a time without a zone says nothing; transcripts are in UTC")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _now() -> datetime:
    return datetime.now(UTC)
