"""What was acknowledged is on disk, and readers never wait for the writer."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat
import sys
import textwrap
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mulisa.core.errors import ConfigError
from mulisa.core.room import Identity, RoomName
from mulisa.core.transcript import TranscriptEntry, TranscriptLog
from mulisa.store import transcript as transcript_module
from mulisa.store.database import FILE_NAME, SCHEMA_VERSION, open_reader
from mulisa.store.transcript import TranscriptReader, TranscriptStore

pytestmark = pytest.mark.network  # the writer is a real thread and the disk a real disk

ROOM = RoomName("standup")


def entry(
    segment_id: str, text: str = "Good morning.", at: datetime | None = None
) -> TranscriptEntry:
    moment = at or datetime.now(UTC)
    return TranscriptEntry(
        segment_id=segment_id,
        identity=Identity("alice-7f3k"),
        name="Alice",
        kind="standard",
        source="voice",
        text=text,
        started_at=moment,
        ended_at=moment + timedelta(seconds=1),
    )


def said(path: Path, room: RoomName = ROOM) -> list[str]:
    transcript = TranscriptReader(path).latest(room)
    return [] if transcript is None else [e.text for e in transcript.entries]


async def test_a_call_that_could_not_be_begun_is_begun_with_the_next_words(tmp_path: Path) -> None:
    async with TranscriptStore(tmp_path) as store:
        with sqlite3.connect(tmp_path / FILE_NAME) as disk:
            disk.execute(
                "CREATE TRIGGER full BEFORE INSERT ON entries"
                " BEGIN SELECT RAISE(ABORT, 'disk full'); END"
            )
        with pytest.raises(ConfigError, match="disk full"):
            await store.append(ROOM, entry("s1", "Lost."))
        disk.execute("DROP TRIGGER full")
        disk.close()
        await store.append(ROOM, entry("s2", "Kept."))
    assert said(tmp_path) == ["Kept."]


async def test_an_entry_reads_back_as_it_was_written(tmp_path: Path) -> None:
    written = TranscriptEntry(
        segment_id="s1",
        identity=Identity("mulisa"),
        name="Mulisa 👩‍👩‍👧",
        kind="agent",
        source="chat",
        text="नमस्ते\n'; DROP TABLE entries; --",
        started_at=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        ended_at=datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC),
        interrupted=True,
        unspoken="the rest",
        listener=Identity("alice-7f3k"),
    )
    async with TranscriptStore(tmp_path) as store:
        log: TranscriptLog = store
        await log.append(ROOM, written)
        assert await log.recent(ROOM, 10) == (written,)
    transcript = TranscriptReader(tmp_path).latest(ROOM)
    assert transcript is not None
    assert transcript.entries == (written,)


async def test_half_a_surrogate_pair_does_not_stop_the_call(tmp_path: Path) -> None:
    async with TranscriptStore(tmp_path) as store:
        await store.append(ROOM, entry("s1", "odd \ud83d"))
    assert said(tmp_path) == ["odd ?"]


async def test_a_segment_that_is_there_already_is_replaced(tmp_path: Path) -> None:
    async with TranscriptStore(tmp_path) as store:
        first = entry("s1", "Good")
        await store.append(ROOM, first)
        await store.append(ROOM, entry("s2", "Next"))
        await store.append(ROOM, replace(first, text="Good morning"))
        await store.append(RoomName("other"), entry("s1", "Elsewhere"))
    assert said(tmp_path) == ["Good morning", "Next"]
    assert said(tmp_path, RoomName("other")) == ["Elsewhere"]


async def test_entries_are_in_the_order_in_which_people_began_to_speak(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    async with TranscriptStore(tmp_path) as store:
        await store.append(ROOM, entry("s2", "second", now + timedelta(seconds=2)))
        await store.append(ROOM, entry("s1", "first", now + timedelta(seconds=1)))
        await store.append(ROOM, entry("s3", "third", now + timedelta(seconds=3)))
        assert [e.text for e in await store.recent(ROOM, 2)] == ["second", "third"]
        assert await store.recent(ROOM, 0) == ()
    assert said(tmp_path) == ["first", "second", "third"]


async def test_a_time_without_a_zone_is_refused(tmp_path: Path) -> None:
    async with TranscriptStore(tmp_path) as store:
        with pytest.raises(ValueError, match="zone"):
            await store.append(ROOM, entry("s1", at=datetime(2026, 1, 1)))  # noqa: DTZ001
        await store.append(ROOM, entry("s2", "still writing"))
    assert said(tmp_path) == ["still writing"]


async def test_a_call_ends_when_the_room_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcript_module, "RELOAD_GRACE", timedelta(0))
    began = datetime.now(UTC)
    async with TranscriptStore(tmp_path) as store:
        await store.end_call(ROOM)  # there is none
        await store.append(ROOM, entry("s1", "before", began))
        await store.end_call(ROOM)
        transcript = TranscriptReader(tmp_path).latest(ROOM)
        assert transcript is not None
        assert transcript.started_at == began
        assert transcript.ended_at is not None

        assert await store.recent(ROOM, 10) == ()
        await store.append(ROOM, entry("s2", "after"))
        assert [e.text for e in await store.recent(ROOM, 10)] == ["after"]
    assert said(tmp_path) == ["after"]
    everything = TranscriptReader(tmp_path).everything(ROOM)
    assert everything is not None
    assert everything.started_at == began
    assert [e.text for e in everything.entries] == ["before", "after"]


async def test_a_reload_continues_the_call(tmp_path: Path) -> None:
    async with TranscriptStore(tmp_path) as store:
        await store.append(ROOM, entry("s1", "before"))
        await store.end_call(ROOM)
        assert [e.text for e in await store.recent(ROOM, 10)] == ["before"]
        await store.append(ROOM, entry("s2", "after"))
    transcript = TranscriptReader(tmp_path).latest(ROOM)
    assert transcript is not None
    assert transcript.ended_at is None
    assert [e.text for e in transcript.entries] == ["before", "after"]


async def test_a_process_that_died_comes_back_into_its_call(tmp_path: Path) -> None:
    async with TranscriptStore(tmp_path) as store:
        await store.append(ROOM, entry("s1", "before"))
    async with TranscriptStore(tmp_path) as store:
        assert [e.text for e in await store.recent(ROOM, 10)] == ["before"]
        await store.append(ROOM, entry("s2", "after"))
    assert said(tmp_path) == ["before", "after"]


async def test_a_call_that_a_dead_process_left_open_ends_with_the_room(tmp_path: Path) -> None:
    async with TranscriptStore(tmp_path) as store:
        await store.append(ROOM, entry("s1", "before"))
    async with TranscriptStore(tmp_path) as store:
        await store.end_call(ROOM)
        transcript = TranscriptReader(tmp_path).latest(ROOM)
        assert transcript is not None and transcript.ended_at is not None
        await store.end_call(ROOM)
        assert TranscriptReader(tmp_path).latest(ROOM) == transcript, "it ended once"


async def test_a_write_that_fails_leaves_nothing_half_done(tmp_path: Path) -> None:
    async with TranscriptStore(tmp_path) as store:
        await store.append(ROOM, entry("s1", "before"))
        saboteur = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
        saboteur.execute(
            "CREATE TRIGGER t BEFORE INSERT ON entries WHEN new.text = 'bad'"
            " BEGIN SELECT raise(ABORT, 'no room on the disk'); END"
        )
        with pytest.raises(ConfigError, match="no room on the disk"):
            await store.append(ROOM, entry("s2", "bad"))
        await store.append(ROOM, entry("s3", "after"))
        saboteur.close()
    assert said(tmp_path) == ["before", "after"]


async def test_a_call_that_never_ended_is_not_continued_for_ever(tmp_path: Path) -> None:
    long_ago = datetime.now(UTC) - timedelta(hours=2)
    async with TranscriptStore(tmp_path) as store:
        await store.append(ROOM, entry("s1", "long ago", long_ago))
    async with TranscriptStore(tmp_path) as store:
        assert await store.recent(ROOM, 10) == ()
        await store.append(ROOM, entry("s2", "now"))
        assert [e.text for e in await store.recent(ROOM, 10)] == ["now"]


async def test_readers_see_every_acknowledged_entry_while_the_writer_writes(
    tmp_path: Path,
) -> None:
    reader = TranscriptReader(tmp_path)
    assert reader.latest(ROOM) is None
    async with TranscriptStore(tmp_path) as store:
        writer = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
        for n in range(20):
            await store.append(ROOM, entry(f"s{n}", str(n)))
            transcript = await asyncio.to_thread(reader.latest, ROOM)
            assert transcript is not None
            assert [e.text for e in transcript.entries] == [str(i) for i in range(n + 1)]
        writer.execute("BEGIN IMMEDIATE")  # somebody holds the write lock
        assert len(said(tmp_path)) == 20
        writer.execute("ROLLBACK")
        writer.close()
    assert reader.rooms() == [ROOM]


async def test_appends_of_many_rooms_at_once(tmp_path: Path) -> None:
    rooms = [RoomName(f"room {n}") for n in range(8)]
    async with TranscriptStore(tmp_path) as store, asyncio.TaskGroup() as tasks:
        for n in range(5):
            for room in rooms:
                tasks.create_task(store.append(room, entry(f"s{n}", f"{room} {n}")))
        # Leaving the group waits for the appends, leaving the store afterwards closes it.
    for room in rooms:
        assert said(tmp_path, room) == [f"{room} {n}" for n in range(5)]


WRITER = """
    import asyncio, sys
    from datetime import UTC, datetime
    from pathlib import Path
    from mulisa.core.transcript import TranscriptEntry
    from mulisa.store.transcript import TranscriptStore

    async def write(data):
        store = TranscriptStore(Path(data))
        n = 0
        while True:
            now = datetime.now(UTC)
            entry = TranscriptEntry(f"s{n}", "a", "Alice", "standard", "voice", f"{n}", now, now)
            await store.append("standup", entry)
            print(n, flush=True)
            n += 1

    asyncio.run(write(sys.argv[1]))
"""


@pytest.mark.parametrize("acknowledged", [1, 25])
async def test_a_killed_process_loses_nothing_that_it_acknowledged(
    tmp_path: Path, acknowledged: int
) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        textwrap.dedent(WRITER),
        str(tmp_path),
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    for _ in range(acknowledged):
        assert await child.stdout.readline()
    child.send_signal(signal.SIGKILL)  # most likely in the middle of the next append
    rest = (await child.stdout.read()).decode().splitlines()
    assert await child.wait() == -signal.SIGKILL
    promised = acknowledged + sum(line.isdigit() for line in rest)
    texts = said(tmp_path)
    assert texts[:promised] == [str(n) for n in range(promised)]
    assert len(texts) - promised in (0, 1)  # the one that was written but not yet acknowledged
    async with TranscriptStore(tmp_path) as store:
        assert len(await store.recent(ROOM, 1000)) == len(texts)


OPENER = """
    import asyncio, sys
    from pathlib import Path
    from mulisa.store.transcript import TranscriptStore

    sys.stdin.read()
    asyncio.run(TranscriptStore(Path(sys.argv[1])).aclose())
"""


async def test_processes_may_open_a_new_file_at_the_same_time(tmp_path: Path) -> None:
    children = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", textwrap.dedent(OPENER), str(tmp_path)),
            stdin=asyncio.subprocess.PIPE,
        )
        for _ in range(4)
    ]
    await asyncio.gather(*(child.communicate(b"") for child in children))
    assert [child.returncode for child in children] == [0, 0, 0, 0]


def test_only_the_owner_may_read(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = TranscriptStore(tmp_path / "data")
        asyncio.run(store.aclose())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "data" / FILE_NAME).stat().st_mode) == 0o600


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"these are not the pages you are looking for " * 100)
    with pytest.raises(ConfigError, match="not a database"):
        TranscriptStore(tmp_path)
    with pytest.raises(ConfigError, match="not a database"):
        TranscriptReader(tmp_path).latest(ROOM)


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ConfigError, match="newer Mulisa"):
        TranscriptStore(tmp_path)
    with pytest.raises(ConfigError, match="newer Mulisa"):
        TranscriptReader(tmp_path).latest(ROOM)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="cannot keep the transcript"):
        TranscriptStore(tmp_path / "file" / "data")


FIRST_SCHEMA = """
CREATE TABLE calls (
    call_id    INTEGER PRIMARY KEY,
    room       TEXT NOT NULL,
    started_at TEXT NOT NULL,
    ended_at   TEXT            -- NULL while people are in the room, and after a crash
);
CREATE INDEX calls_of_room ON calls (room, call_id);
CREATE TABLE entries (
    entry_id    INTEGER PRIMARY KEY,
    call_id     INTEGER NOT NULL REFERENCES calls ON DELETE CASCADE,
    segment_id  TEXT NOT NULL,
    identity    TEXT NOT NULL,
    name        TEXT NOT NULL,
    kind        TEXT NOT NULL,
    source      TEXT NOT NULL,
    text        TEXT NOT NULL,
    started_at  TEXT NOT NULL,  -- ISO 8601, UTC, microseconds: sorts as text
    ended_at    TEXT NOT NULL,
    interrupted INTEGER NOT NULL,
    unspoken    TEXT NOT NULL,
    UNIQUE (call_id, segment_id)
);
CREATE INDEX entries_in_order ON entries (call_id, started_at, entry_id);
PRAGMA user_version = 1;
"""
"""As version 1 wrote it; do not change it."""


def write_first_version(folder: Path, began: datetime) -> None:
    at = began.isoformat(timespec="microseconds")
    with closing(sqlite3.connect(folder / FILE_NAME, isolation_level=None)) as disk:
        disk.execute("PRAGMA journal_mode = WAL")
        disk.executescript(FIRST_SCHEMA)
        disk.execute("INSERT INTO calls (room, started_at) VALUES (?, ?)", (ROOM, at))
        disk.execute(
            "INSERT INTO entries VALUES (NULL, 1, 's1', 'alice-7f3k', 'Alice', 'standard', 'voice',"
            " 'From before.', ?, ?, 0, '')",
            (at, at),
        )


def version(folder: Path) -> int:
    with closing(sqlite3.connect(folder / FILE_NAME)) as disk:
        found: int = disk.execute("PRAGMA user_version").fetchone()[0]
        return found


async def test_a_file_of_the_first_version_is_upgraded_and_goes_on(tmp_path: Path) -> None:
    write_first_version(tmp_path, datetime.now(UTC) - timedelta(minutes=1))
    whisper = replace(entry("s2", "Psst."), listener=Identity("alice-7f3k"))
    async with TranscriptStore(tmp_path) as store:
        await store.append(ROOM, whisper)
        recalled = await store.recent(ROOM, 10)
    assert [(e.text, e.listener) for e in recalled] == [
        ("From before.", None),
        ("Psst.", "alice-7f3k"),
    ]
    assert version(tmp_path) == SCHEMA_VERSION
    async with TranscriptStore(tmp_path) as store:  # a second time there is nothing to upgrade
        assert await store.recent(ROOM, 10) == recalled


async def test_a_reader_upgrades_nothing_and_reads_the_first_version(tmp_path: Path) -> None:
    write_first_version(tmp_path, datetime.now(UTC))
    transcript = TranscriptReader(tmp_path).latest(ROOM)
    assert transcript is not None
    assert [(e.text, e.listener) for e in transcript.entries] == [("From before.", None)]
    assert TranscriptReader(tmp_path).rooms() == [ROOM]
    assert version(tmp_path) == 1


async def test_a_reader_that_was_there_before_the_upgrade_goes_on(tmp_path: Path) -> None:
    write_first_version(tmp_path, datetime.now(UTC))
    reader = open_reader(tmp_path / FILE_NAME)
    assert reader is not None
    with closing(reader):
        async with TranscriptStore(tmp_path) as store:
            await store.append(ROOM, replace(entry("s2"), listener=Identity("bob-1")))
        found = reader.execute("SELECT listener FROM entries ORDER BY entry_id").fetchall()
    assert found == [(None,), ("bob-1",)]


async def test_a_process_of_the_first_version_may_go_on_writing(tmp_path: Path) -> None:
    write_first_version(tmp_path, datetime.now(UTC))
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as former:
        async with TranscriptStore(tmp_path) as store:
            await store.append(ROOM, entry("s2", "New."))
        former.execute(
            "INSERT INTO entries (call_id, segment_id, identity, name, kind, source, text,"
            " started_at, ended_at, interrupted, unspoken) SELECT call_id, 's3', identity, name,"
            " kind, source, 'Old.', started_at, ended_at, 0, '' FROM entries LIMIT 1"
        )
    assert sorted(said(tmp_path)) == ["From before.", "New.", "Old."]
