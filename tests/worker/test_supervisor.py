from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from mulisa.worker.status import ProcessDied, ProcessStarted, Registered, Status
from mulisa.worker.supervisor import AgentProcessFailed, Supervisor

pytestmark = pytest.mark.network

PRELUDE = """
import os, signal, subprocess, sys, threading
from mulisa.worker.parent import end_with_parent
from mulisa.worker.status import Registered, tell_parent
"""
REGISTERS = PRELUDE + 'tell_parent(Registered(os.environ["URL"], "AW_1"))\n'
WORKS = REGISTERS + "end_with_parent(); signal.pause()"
STUBBORN = f"""
import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)
{REGISTERS}
signal.pause()
"""
LEAVES_AN_HEIR = PRELUDE + (
    "heir = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
    "open(os.environ['HEIRS'], 'a').write(f'{heir.pid}\\n')\n"
    'tell_parent(Registered(os.environ["URL"], "AW_1"))\n'
    "os._exit(3)"
)
BUSY_LEAVING = PRELUDE + (
    "from mulisa.worker.status import Draining\n"
    "signal.signal(signal.SIGTERM, lambda *_: tell_parent(Draining(1)))\n"
    'tell_parent(Registered(os.environ["URL"], "AW_1"))\n'
    "while True: signal.pause()"
)
IMPATIENT = """
import os, sys
from mulisa.serving import run_until_interrupted
from mulisa.worker.supervisor import Supervisor
command = [sys.executable, "-c", sys.argv[1]]
tell = lambda status: print(status, flush=True)
run_until_interrupted(Supervisor(command, os.environ, tell, stop_time=1e6).run())
"""
PARENT = """
import asyncio, os, sys
from mulisa.worker.supervisor import Supervisor
command = [sys.executable, "-c", sys.argv[1]]
asyncio.run(Supervisor(command, os.environ, lambda status: print(status, flush=True)).run())
"""


class Log:
    def __init__(self) -> None:
        self.said: list[Status] = []
        self._news = asyncio.Event()

    def __call__(self, status: Status) -> None:
        self.said.append(status)
        self._news.set()

    async def wait_for(self, is_it: Callable[[Status], bool], times: int = 1) -> Status:
        async with asyncio.timeout(15):
            while True:
                found = list(filter(is_it, self.said))
                if len(found) >= times:
                    return found[times - 1]
                self._news.clear()
                await self._news.wait()

    async def pid(self, life: int = 1) -> int:
        """Of the process in its first, second, ... life, once it registered."""
        await self.wait_for(lambda status: isinstance(status, Registered), life)
        started = await self.wait_for(lambda status: isinstance(status, ProcessStarted), life)
        assert isinstance(started, ProcessStarted)
        return started.pid


@asynccontextmanager
async def supervised(code: str, stop_time: float = 8.0) -> AsyncIterator[Log]:
    log = Log()
    environment = {**os.environ, "URL": "ws://localhost"}
    supervisor = Supervisor([sys.executable, "-c", code], environment, log, stop_time)
    task = asyncio.create_task(supervisor.run())
    try:
        yield log
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def is_alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def end_of(pid: int) -> asyncio.Future[None]:
    """Done when a process that is not our child has ended."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    descriptor = os.pidfd_open(pid)

    def close() -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        ended.set_result(None)

    loop.add_reader(descriptor, close)
    return ended


async def test_a_killed_process_is_started_again_at_once() -> None:
    async with supervised(WORKS) as log:
        first = await log.pid()
        os.kill(first, signal.SIGKILL)
        second = await log.pid(life=2)
        assert second != first
        died = await log.wait_for(lambda status: isinstance(status, ProcessDied))
        assert isinstance(died, ProcessDied)
        assert died.exit_code == -signal.SIGKILL
        assert died.restart_in < 0.3
    assert not is_alive(second)


async def test_it_says_what_the_process_says() -> None:
    async with supervised(WORKS) as log:
        await log.wait_for(lambda status: status == Registered("ws://localhost", "AW_1"))


async def test_a_process_that_does_not_end_is_killed() -> None:
    async with supervised(STUBBORN, stop_time=0.2) as log:
        pid = await log.pid()
    assert not is_alive(pid)


async def test_a_second_ctrl_c_ends_what_is_still_busy_leaving() -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", IMPATIENT, BUSY_LEAVING),
        env={**os.environ, "URL": "ws://localhost"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert parent.stdout is not None
    async with asyncio.timeout(30):
        started = (await parent.stdout.readline()).decode()
        assert b"Registered" in await parent.stdout.readline()
        pid = int(started.partition("pid=")[2].rstrip(")\n"))
        ended = end_of(pid)
        parent.send_signal(signal.SIGINT)
        assert b"Draining" in await parent.stdout.readline()
        assert not ended.done()
        parent.send_signal(signal.SIGINT)
        await parent.wait()
        await ended


async def test_an_heir_of_its_output_does_not_hide_its_death(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that the agent started may keep the pipe open."""
    heirs = tmp_path / "heirs"
    monkeypatch.setenv("HEIRS", str(heirs))
    async with supervised(LEAVES_AN_HEIR) as log:
        died = await log.wait_for(lambda status: isinstance(status, ProcessDied))
        assert isinstance(died, ProcessDied)
        assert died.exit_code == 3
        await log.pid(life=2)
    for pid in heirs.read_text().split():
        os.kill(int(pid), signal.SIGKILL)


@pytest.mark.parametrize("code", ["raise SystemExit(1)", "raise SystemExit(2)"])
async def test_a_process_that_never_works_is_given_up(code: str) -> None:
    supervisor = Supervisor([sys.executable, "-c", code], os.environ, Log())
    async with asyncio.timeout(15):
        with pytest.raises(AgentProcessFailed, match=r"code [12]"):
            await supervisor.run()


async def test_the_process_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, WORKS),
        env={**os.environ, "URL": "ws://localhost"},
        stdout=asyncio.subprocess.PIPE,
    )
    assert parent.stdout is not None
    async with asyncio.timeout(15):
        started = (await parent.stdout.readline()).decode()
        assert b"Registered" in await parent.stdout.readline()
    pid = int(started.partition("pid=")[2].rstrip(")\n"))
    async with asyncio.timeout(15):
        ended = end_of(pid)
        parent.kill()
        await parent.wait()
        await ended
