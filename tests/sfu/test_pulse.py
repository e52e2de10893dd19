"""Something that is done while there is reason to."""

from __future__ import annotations

import asyncio

import pytest

from mulisa.sfu.pulse import Pulse

pytestmark = pytest.mark.unit


async def test_it_beats_until_there_is_no_reason_any_more() -> None:
    loop = asyncio.get_running_loop()
    beats: list[float] = []

    def beat() -> bool:
        beats.append(loop.time())
        return len(beats) % 3 != 0

    start = loop.time()
    pulse = Pulse(0.4, beat)
    pulse.start()
    pulse.start()
    await asyncio.sleep(10)
    assert [each - start for each in beats] == pytest.approx([0.4, 0.8, 1.2])
    pulse.start()
    await asyncio.sleep(0.5)
    pulse.stop()
    pulse.stop()
    await asyncio.sleep(10)
    assert len(beats) == 4
