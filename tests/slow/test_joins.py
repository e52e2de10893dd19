"""A hundred people come and go; nothing of them stays behind."""

from __future__ import annotations

from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]
import pytest

from tests.browser.people import until
from tests.browser.server import Server
from tests.slow.talkers import MULISA, talker_in

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(900)]

ROOM = "station"
JOINS = 100
WARM_UP = 20
MAX_GROWTH_BYTES = 24 * 2**20
"""Of either process in the eighty stays after the first twenty."""
MAX_MORE_FILES = 6
MAX_MORE_THREADS = 3


async def test_a_hundred_joins_and_leaves(server: Server) -> None:
    gateway, agent = psutil.Process(server.process.pid), server.agent()
    async with talker_in(server, ROOM, "Alice") as alice:
        await alice.meets(MULISA)
        await alice.sees_mulisa("listening")
        before: dict[psutil.Process, _Usage] = {}
        for number in range(JOINS):
            if number == WARM_UP:
                before = {process: await _usage(process) for process in (gateway, agent)}
            async with talker_in(server, ROOM, f"Visitor {number}") as visitor:
                await visitor.meets(alice.identity, MULISA)
                await alice.meets(visitor.identity)
        await until(
            lambda: server.participants(ROOM), lambda here: len(here) == 2, "the visitors to go"
        )
        assert server.agent().pid == agent.pid, "she died on the way"
        for process, former in before.items():
            after = await until(  # connections of the last ones are still closing
                lambda process=process: _usage(process),  # type: ignore[misc]
                lambda now, former=former: now.is_like(former),  # type: ignore[misc]
                f"{process.name()} to hold no more than {former}",
            )
            print(f"{former} -> {after}")
        await alice.write("Who is in the call?")
        await alice.is_answered_in_chat(1)


@dataclass(frozen=True)
class _Usage:
    memory_bytes: int
    files: int
    threads: int

    def is_like(self, former: _Usage) -> bool:
        return (
            self.memory_bytes - former.memory_bytes < MAX_GROWTH_BYTES
            and self.files - former.files <= MAX_MORE_FILES
            and self.threads - former.threads <= MAX_MORE_THREADS
        )


async def _usage(process: psutil.Process) -> _Usage:
    return _Usage(process.memory_info().rss, process.num_fds(), process.num_threads())
