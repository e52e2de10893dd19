"""Our own participant: its attributes, and the round trip that says the server has kept up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from livekit import rtc

from mulisa.core.errors import SignalingError, TransportError
from mulisa.core.routing import ROUTING_ATTRIBUTE, Routing

logger = logging.getLogger(__name__)

MAX_ATTRIBUTES: Final = 64
MAX_ATTRIBUTE_BYTES: Final = 8 * 1024
"""As in a mesh, whose gateway refuses more."""
ANSWER_TIMES: Final = (0.5, 1.0, 2.0, 4.0)
"""Seconds to wait for the server's answer, try after try: the SDK (1.2.1) misses one in forty,
when it comes before the SDK has begun to wait for it."""


class OwnAttributes:
    """What we show of ourselves; shown again after a reconnection that lost it."""

    def __init__(self, room: rtc.Room) -> None:
        self._room = room
        self._told: dict[str, str] = {}
        """An empty value is a key that was removed."""
        self._is_refused = False

    def over(self, attributes: Mapping[str, str]) -> dict[str, str]:
        """What others see once the server has heard of it: `attributes` are from the token."""
        merged = {**attributes, **self._told}
        return {key: value for key, value in merged.items() if value}

    async def show(self, attributes: Mapping[str, str]) -> None:
        """Merge; an empty value removes a key. Returns when the server has them.

        Raises SignalingError if they are too many, TransportError if nobody answers.
        """
        told = {**self._told, **attributes}
        size = sum(len(key.encode()) + len(value.encode()) for key, value in told.items())
        if len(told) > MAX_ATTRIBUTES or size > MAX_ATTRIBUTE_BYTES:
            raise SignalingError(
                f"at most {MAX_ATTRIBUTES} attributes with {MAX_ATTRIBUTE_BYTES} bytes are shown"
            )
        self._told = told
        await self._send(attributes)

    async def show_routing(self, routing: Routing) -> None:
        """As attribute `ROUTING_ATTRIBUTE`, which is absent by default."""
        text = routing.as_attribute()
        if text != self._told.get(ROUTING_ATTRIBUTE, ""):
            await self.show({ROUTING_ATTRIBUTE: text})

    async def show_again(self) -> None:
        """After a reconnection."""
        if self._told:
            await self._send(self._told)

    async def barrier(self) -> float:
        """Return when the server has handled what was sent before; how long it took, in seconds.

        It handles the requests of one participant in order, and answers this one (a change of no
        attribute). Raises TransportError.
        """
        return await self._send({})

    async def _send(self, attributes: Mapping[str, str]) -> float:
        """How long the answer took, in seconds. Raises TransportError."""
        participant = self._room.local_participant
        if attributes and not participant.permissions.can_update_metadata:
            self._warn_once()
        loop = asyncio.get_running_loop()
        for patience in ANSWER_TIMES:
            asked_at = loop.time()
            attributes = {key: self._told.get(key, "") for key in attributes}  # newer by now
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await participant.set_attributes(dict(attributes))
                    return loop.time() - asked_at
        raise TransportError(f"the server did not answer within {sum(ANSWER_TIMES):.0f} s")

    def _warn_once(self) -> None:
        if not self._is_refused:
            self._is_refused = True
            logger.warning("the token lacks canUpdateOwnMetadata, so nobody sees our state")
