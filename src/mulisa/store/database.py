"""The SQLite file behind the transcript: schema, version and how it is opened.

WAL lets the gateway and the command line read while an agent process writes. With
``synchronous=FULL`` every commit is on disk before it returns, so that an acknowledged entry
survives a killed process and, as far as the disk keeps its promises, a power failure.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from mulisa.core.errors import ConfigError

FILE_NAME: Final = "transcript.sqlite3"
"""In the data folder."""
SCHEMA_VERSION: Final = 2
BUSY_TIMEOUT: Final = 10.0
"""Seconds to wait for another writer."""

_SCHEMA: Final = """
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
    listener    TEXT,           -- who alone heard it; NULL is everybody
    UNIQUE (call_id, segment_id)
);
CREATE INDEX entries_in_order ON entries (call_id, started_at, entry_id);
"""

_UPGRADES: Final = {1: "ALTER TABLE entries ADD COLUMN listener TEXT"}
"""From a version to the next one."""
_AS_IF_UPGRADED: Final = {
    1: "CREATE TEMP VIEW entries AS SELECT *, NULL AS listener FROM main.entries"
}
"""What a reader, which may not write, sees of an older file."""


def open_writer(path: Path) -> sqlite3.Connection:
    """Open for writing, creating or upgrading the file; one thread at a time may use it.

    What was said is nobody else's business: the file is readable by its owner only.
    Raises ConfigError if the file cannot be used.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _one_at_a_time(path.parent):
            return _open(path)
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(f"cannot keep the transcript in {path}: {error}") from error


def open_reader(path: Path) -> sqlite3.Connection | None:
    """Open for reading only; None if nothing was ever written.

    Raises ConfigError if the file is not a transcript of ours.
    """
    if not path.exists():
        return None
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT
        )
    except sqlite3.Error as error:
        raise ConfigError(f"cannot read the transcript in {path}: {error}") from error
    try:
        version = _version(connection)
        _check_version(version, path)
        if version in _AS_IF_UPGRADED:
            connection.execute(_AS_IF_UPGRADED[version])
    except (sqlite3.Error, ConfigError) as error:
        connection.close()
        raise ConfigError(f"cannot read the transcript in {path}: {error}") from error
    if version == 0:  # created this instant, its schema not yet committed
        connection.close()
        return None
    return connection


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Processes that turn a new file to WAL at the same time find it locked, and do not wait."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> sqlite3.Connection:
    with suppress(FileExistsError):  # closing a file that exists would drop SQLite's locks on it
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        _migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection)
        _check_version(version, path)
        if version == 0:
            for statement in _SCHEMA.split(";\n"):
                connection.execute(statement)
        else:
            for former in range(version, SCHEMA_VERSION):
                connection.execute(_UPGRADES[former])
        if version != SCHEMA_VERSION:
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _check_version(version: int, path: Path) -> None:
    if version > SCHEMA_VERSION:
        raise ConfigError(
            f"{path} was written by a newer Mulisa (schema {version}, this one knows "
            f"{SCHEMA_VERSION}); upgrade, or choose another folder with --data"
        )
