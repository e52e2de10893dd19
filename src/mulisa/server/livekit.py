"""An external LiveKit server: what its RoomService says, and its rooms as the gateway's.

A LiveKit server tells nobody but its clients who comes and goes, so the gateway looks into the
rooms that it gave tokens for (`mulisa.server.watchlist` says when). What the API shows of them
is as old as the last look.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import aiohttp
from google.protobuf.message import DecodeError

from mulisa.core.errors import ConfigError, ConnectionLost, MulisaError
from mulisa.core.room import Identity, RoomName
from mulisa.server.events import OnEvent, SfuFound, SfuLost
from mulisa.server.rooms import RoomState, Stay
from mulisa.server.watchlist import Watchlist

if TYPE_CHECKING:
    from livekit.api import LiveKitAPI

logger = logging.getLogger(__name__)

ANSWER_TIME: Final = 5.0
"""Seconds for the server to answer one request."""
AWAY_PAUSE: Final = 1.0
"""Seconds between looks while the server is away."""

_LOOKS_AT_ONCE: Final = 8
_REFUSALS: Final = (401, 403)
_HMAC_BLOCK_BYTES: Final = 64

Answer = TypeVar("Answer")


class LiveKitServer:
    """Requests to the RoomService of one server; made by `livekit_server`.

    Each raises ConnectionLost if the server does not answer as it should, and ConfigError if it
    refuses our key.
    """

    def __init__(self, url: str, api: LiveKitAPI) -> None:
        self.url = url
        self._api = api

    async def check(self) -> None:
        """Whether the server answers and knows our key."""
        await self.occupied(())

    async def occupied(self, rooms: Iterable[RoomName]) -> list[RoomName]:
        """Which of these rooms have somebody in them, as the server has it a few seconds late."""
        from livekit.protocol.room import ListRoomsRequest

        # No names would mean all rooms; no room can have the name that is asked for then.
        request = ListRoomsRequest(names=list(rooms) or [""])
        answer = await self._ask(self._api.room.list_rooms(request))
        return [RoomName(room.name) for room in answer.rooms if room.num_participants]

    async def stays(self, room: RoomName) -> tuple[Stay, ...]:
        """Who is in the room, the first to come first; nobody if there is no such room."""
        from livekit.protocol.room import ListParticipantsRequest

        from mulisa.server.participants import is_present, stay_of

        request = ListParticipantsRequest(room=room)
        answer = await self._ask(self._api.room.list_participants(request))
        try:
            stays = [stay_of(info) for info in answer.participants if is_present(info)]
        except (ValueError, OverflowError, OSError) as error:  # no time of this world
            raise self._is_no_server() from error
        return tuple(sorted(stays, key=lambda stay: (stay.joined_at, stay.participant.identity)))

    async def remove(self, room: RoomName, identity: Identity) -> None:
        """Put somebody out of the room; nothing happens if they are not there."""
        from livekit.api import ServerError
        from livekit.protocol.room import RoomParticipantIdentity

        request = RoomParticipantIdentity(room=room, identity=identity)
        try:
            await self._ask(self._api.room.remove_participant(request))
        except ConnectionLost as error:
            if not isinstance(error.__cause__, ServerError) or error.__cause__.status != 404:
                raise

    async def _ask(self, request: Coroutine[Any, Any, Answer]) -> Answer:
        from livekit.api import ServerError

        try:
            return await request
        except ServerError as error:
            if error.status in _REFUSALS:
                raise ConfigError(
                    f"{self.url} refuses the API key ({error.message or error.status}); "
                    "LIVEKIT_API_KEY and LIVEKIT_API_SECRET must be those of that server"
                ) from error
            what = error.message or error.code
            raise ConnectionLost(f"{self.url} answers {error.status} {what}") from error
        except TimeoutError as error:
            raise ConnectionLost(f"{self.url} does not answer") from error
        except aiohttp.ClientConnectorCertificateError as error:
            reason = getattr(error.certificate_error, "verify_message", "")
            raise ConnectionLost(
                f"the certificate of {self.url} is not trusted: {reason or error}; "
                "a self-made one is named with --trust"
            ) from error
        except aiohttp.ClientConnectorError as error:
            reason = error.strerror or error
            raise ConnectionLost(f"{self.url} cannot be reached: {reason}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionLost(f"{self.url} cannot be reached: {error}") from error
        except (DecodeError, AttributeError) as error:  # the latter: an error without a body
            raise self._is_no_server() from error

    def _is_no_server(self) -> ConnectionLost:
        return ConnectionLost(f"what answers at {self.url} is no LiveKit server")


@asynccontextmanager
async def livekit_server(url: str, api_key: str, api_secret: str) -> AsyncIterator[LiveKitServer]:
    """A server that can be asked; nothing is sent yet. `url` may begin with ws or http."""
    api_type = await asyncio.to_thread(_load_api)
    # HMAC pads a key with zeros itself (RFC 2104, 2); done here, PyJWT does not warn of short ones.
    secret = api_secret + "\0" * (_HMAC_BLOCK_BYTES - len(api_secret.encode()))
    timeout = aiohttp.ClientTimeout(total=ANSWER_TIME)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield LiveKitServer(url, api_type(url, api_key, secret, session=session, failover=False))


def _load_api() -> type[LiveKitAPI]:
    from livekit.api import LiveKitAPI

    return LiveKitAPI


class LiveKitRooms:
    """The rooms of one server that this gateway gave tokens for. Belongs to one event loop.

    `on_change` is called after the events of a room in which somebody came or went. While the
    server is away everybody counts as still there.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        api_secret: str,
        on_event: OnEvent,
        on_change: Callable[[RoomName], None],
    ) -> None:
        self._url = url
        self._credentials = (api_key, api_secret)
        self._on_event = on_event
        self._on_change = on_change
        self._watchlist = Watchlist()
        self._news = asyncio.Event()
        self._server: LiveKitServer | None = None
        self._is_away = False
        self._removals: set[asyncio.Task[None]] = set()

    def expect(self, room: RoomName) -> None:
        """Somebody is about to join the room, or is in it."""
        self._watchlist.expect(room, asyncio.get_running_loop().time())
        self._news.set()

    def room(self, name: RoomName) -> RoomState | None:
        """The room's state at the last look; None while nobody is in it."""
        return self._watchlist.room(name)

    def rooms(self) -> list[RoomState]:
        """All rooms with somebody in them."""
        return self._watchlist.rooms()

    def holds(self, name: RoomName) -> bool:
        """Somebody is in the room."""
        return self._watchlist.room(name) is not None

    def clear(self, room: RoomName, agent: Identity) -> None:
        """Put the agent of this identity out of the room, in a while."""
        removal = asyncio.create_task(self._remove(room, agent), name=f"clear {room}")
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)

    async def watch(self) -> None:
        """Look until cancelled."""
        async with livekit_server(self._url, *self._credentials) as server:
            self._server = server
            try:
                await self._try(server.check())
                while True:
                    await self._wait()
                    await self._look(server)
            finally:
                self._server = None
                for removal in self._removals:
                    removal.cancel()

    async def _wait(self) -> None:
        if self._is_away:
            await asyncio.sleep(AWAY_PAUSE)
            return
        self._news.clear()
        try:
            async with asyncio.timeout_at(self._watchlist.deadline()):
                await self._news.wait()
        except TimeoutError:
            pass

    async def _look(self, server: LiveKitServer) -> None:
        now = asyncio.get_running_loop().time()
        quiet, due = self._watchlist.due_quiet(now), self._watchlist.due(now)
        if self._is_away and not quiet and not due:  # whoever looks at us sees when it is back
            await self._try(server.check())
        if quiet:
            occupied = await self._try(server.occupied(quiet))
            if occupied is not None:
                self._watchlist.found(occupied, now)
                due = self._watchlist.due(now)
        for first in range(0, len(due), _LOOKS_AT_ONCE):
            if self._is_away and first:
                return
            few = due[first : first + _LOOKS_AT_ONCE]
            await asyncio.gather(*(self._look_into(server, room) for room in few))

    async def _look_into(self, server: LiveKitServer, room: RoomName) -> None:
        stays = await self._try(server.stays(room))
        now = asyncio.get_running_loop().time()
        if stays is None:
            self._watchlist.missed(room, now)
            return
        events = self._watchlist.seen(room, stays, now, datetime.now(UTC))
        for event in events:
            self._on_event(event)
        if events:
            self._on_change(room)

    async def _try(self, request: Coroutine[Any, Any, Answer]) -> Answer | None:
        """The answer; None if there is none, which is told once until there is one again."""
        try:
            answer = await request
        except MulisaError as error:
            if not self._is_away:
                self._is_away = True
                self._on_event(SfuLost(self._url, str(error)))
            return None
        if self._is_away:
            self._is_away = False
            self._on_event(SfuFound(self._url))
        return answer

    async def _remove(self, room: RoomName, identity: Identity) -> None:
        if self._server is None:
            return
        try:
            await self._server.remove(room, identity)
        except MulisaError as error:
            logger.warning("an agent could not be put out of an empty room: %s", error)
