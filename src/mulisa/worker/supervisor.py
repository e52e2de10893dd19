"""Keeps an agent process running: a native library may abort it, and the room must not notice."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from mulisa.core.backoff import Backoff
from mulisa.core.errors import MulisaError
from mulisa.core.leaving import ENDING
from mulisa.worker.status import OnStatus, ProcessDied, ProcessStarted, Registered, from_line

logger = logging.getLogger(__name__)

_FIRST_RESTART: Final = 0.25
_LONGEST_RESTART: Final = 30.0
_MAX_LINE_BYTES: Final = 64 * 1024
_MULTIPROC_DIR: Final = "PROMETHEUS_MULTIPROC_DIR"


class AgentProcessFailed(MulisaError):
    """The agent process ended by itself before it ever worked; trying again would not help."""


def agent_command(*options: str) -> list[str]:
    """The command of an agent process that is ours to supervise."""
    return [sys.executable, "-X", "faulthandler", "-m", "mulisa", "worker", *options]


class Supervisor:
    """Runs one agent process, and the next one when it dies.

    The process writes `status` lines to its standard output, ends at SIGTERM or when its standard
    input does, and gets its secrets in the environment, which others cannot read as they can a
    command line. Its standard error is ours.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        on_status: OnStatus,
        stop_time: float = ENDING,
    ) -> None:
        """`stop_time`: seconds for the process to leave its rooms and end, before it is killed."""
        self._command = command
        self._environment = environment
        self._on_status = on_status
        self._stop_time = stop_time
        self._backoff = Backoff(_FIRST_RESTART, _LONGEST_RESTART)
        self._has_worked = False

    async def run(self) -> None:
        """Keep it running until cancelled, then end it; cancelled once more, kill it.

        Raises AgentProcessFailed if it exits with an error before it ever registered.
        """
        while True:
            exit_code = await self._run_process()
            if exit_code > 0 and not self._has_worked:
                raise AgentProcessFailed(
                    f"the agent process ended with code {exit_code}; its last lines say why"
                )
            wait = self._backoff.failed()
            self._on_status(ProcessDied(exit_code, wait))
            await asyncio.sleep(wait)

    async def _run_process(self) -> int:
        """One life of it; its exit code."""
        loop = asyncio.get_running_loop()
        transport, child = await loop.subprocess_exec(
            lambda: _Child(self._hear),
            *self._command,
            env=dict(self._environment),
            stderr=None,
            start_new_session=True,  # Ctrl-C in the terminal is for us; we end it in order
        )
        try:
            pid = transport.get_pid()
            self._on_status(ProcessStarted(pid))
            return await asyncio.shield(child.exit_code)
        finally:
            try:
                await self._end(pid, child)
            finally:
                transport.close()
                _forget_metrics(pid)

    async def _end(self, pid: int, child: _Child) -> None:
        if child.exit_code.done():
            return
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        try:
            await asyncio.wait({child.exit_code}, timeout=self._stop_time)
            if not child.exit_code.done():
                logger.warning("the agent process did not end in %.0f s", self._stop_time)
        finally:  # also at once, when somebody does not want to wait
            if not child.exit_code.done():
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)  # its own children, too
        await child.exit_code

    def _hear(self, line: str) -> None:
        status = from_line(line)
        if status is None:
            logger.info("the agent process says: %s", line)
            return
        if isinstance(status, Registered):
            self._has_worked = True
            self._backoff.succeeded()
        self._on_status(status)


class _Child(asyncio.SubprocessProtocol):
    """Output by lines, and the exit as soon as it happens.

    `asyncio.subprocess` would also wait until the last heir of a pipe has closed it.
    """

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self.exit_code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._on_line = on_line
        self._transport: asyncio.SubprocessTransport | None = None
        self._unfinished = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)
        self._transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        self._unfinished = self._unfinished[-_MAX_LINE_BYTES:]
        for line in lines:
            self._on_line(line.decode(errors="replace"))

    def process_exited(self) -> None:
        assert self._transport is not None
        self.exit_code.set_result(self._transport.get_returncode() or 0)


def _forget_metrics(pid: int) -> None:
    """Gauges of a dead process no longer count; its counters do."""
    if os.environ.get(_MULTIPROC_DIR):
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(pid)  # type: ignore[no-untyped-call]
