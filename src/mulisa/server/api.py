"""``/api``: tokens, rooms, transcripts (docs/protocol.md, HTTP)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mulisa.core.errors import InputError, TokenError
from mulisa.core.room import Identity, RoomName, Topology, parse_display_name, parse_room_name
from mulisa.core.routing import Routing, RoutingChange
from mulisa.server.access import check_room_token, is_operator, token_of
from mulisa.server.agents import AgentEndpoint
from mulisa.server.config import GatewayConfig
from mulisa.server.ice import IceServers
from mulisa.server.metrics import GatewayMetrics
from mulisa.server.ratelimit import RateLimit
from mulisa.server.responses import RoomIsFull, TooMany, error_response
from mulisa.server.rooms import AllRooms, RoomState, room_json
from mulisa.server.tokens import Grant, TokenIssuer, TokenVerifier, room_grant, utc_now

if TYPE_CHECKING:
    from mulisa.store.transcript import Transcript

_NOBODY = "nobody is in that room"
_OPERATOR_ONLY = (
    "this is for the operator: ask directly from the machine itself, or bring a token of the room"
)


class TokenRequest(BaseModel):
    """Who wants to come in."""

    model_config = ConfigDict(strict=True)

    name: str = Field(max_length=256)
    token: str | None = Field(default=None, max_length=8192)
    """One that this page got before for the same room; it may have expired."""
    topology: Topology | None = None
    """In which to open the room; a room that is open keeps its own."""


@dataclass(frozen=True, slots=True)
class RoomAPI:
    """The handlers; each checks access before it looks at anything."""

    config: GatewayConfig
    directory: AllRooms
    agents: AgentEndpoint
    issuer: TokenIssuer
    verifier: TokenVerifier
    metrics: GatewayMetrics
    token_limit: RateLimit
    ice: IceServers
    expects_agent: Callable[[], bool]
    """Whether an AI is, or will be, in every room; people are told before they come in."""
    expect_in_sfu: Callable[[RoomName], None]
    """Told of each room of the SFU that somebody is about to join, or is in."""

    def routes(self) -> list[web.RouteDef]:
        """What to mount."""
        return [
            web.post("/api/rooms/{room}/token", self._token),
            web.get("/api/rooms", self._rooms),
            web.get("/api/rooms/{room}", self._room),
            web.put("/api/rooms/{room}/routing", self._route),
            web.get("/api/rooms/{room}/transcript", self._transcript),
        ]

    async def _token(self, request: web.Request) -> web.Response:
        self._limit_rate(request)
        room = parse_room_name(request.match_info["room"])
        asked = await _read_token_request(request)
        grant = room_grant(
            room,
            parse_display_name(asked.name),
            earlier=self._earlier_grant(asked.token),
            is_taken=lambda identity: self._is_present(room, identity),
        )
        self._check_space(room, grant.identity)
        topology = self._promise(room, asked.topology)  # last: who is refused promises nothing
        self.metrics.token_issued()
        return web.json_response(self._admission(request, grant, topology))

    def _check_space(self, room: RoomName, identity: Identity) -> None:
        """Raises RoomIsFull: a page is told here, as it cannot see why a WebSocket was refused."""
        state = self.directory.room(room)
        if state is not None and not state.has_place_for(identity):
            raise RoomIsFull(f"the room is full: at most {state.places} people")

    def _promise(self, room: RoomName, wish: Topology | None) -> Topology:
        """The topology in which somebody joins the room now."""
        topology = self.directory.promise(room, wish, asyncio.get_running_loop().time())
        if topology == "sfu":
            self.expect_in_sfu(room)
        return topology

    def _limit_rate(self, request: web.Request) -> None:
        now = asyncio.get_running_loop().time()
        if not self.token_limit.admit(request.remote or "", now):
            self.metrics.token_refused()
            raise TooMany("too many tokens were asked for from your address; wait a minute")

    def _earlier_grant(self, token: str | None) -> Grant | None:
        """What an earlier token granted; a page may still hold one of a former secret."""
        try:
            return self.verifier.verify_signature(token) if token else None
        except TokenError:
            return None

    def _is_present(self, room: RoomName, identity: Identity) -> bool:
        state = self.directory.room(room)
        return state is not None and any(
            stay.participant.identity == identity for stay in state.stays
        )

    def _admission(self, request: web.Request, grant: Grant, topology: Topology) -> dict[str, Any]:
        config = self.config
        is_mesh = topology == "mesh"  # an SFU hands its ICE servers out itself
        ice_servers = self.ice.of(grant.identity, utc_now()) if is_mesh else []
        is_here = is_mesh or not config.livekit_url
        agent = {"identity": config.agent_identity, "name": config.agent_name}
        return {
            "token": self.issuer.issue(grant, utc_now()),
            "identity": grant.identity,
            "name": grant.name,
            "topology": topology,
            "url": _websocket_base(request) if is_here else config.livekit_url,
            "ice_servers": [server.model_dump(exclude_none=True) for server in ice_servers],
            "agent": agent if self.expects_agent() else None,
        }

    async def _rooms(self, request: web.Request) -> web.Response:
        if not is_operator(request.remote, request.headers):
            return error_response(403, _OPERATOR_ONLY)
        rooms = [self._operators_json(room) for room in self.directory.rooms()]
        return web.json_response({"rooms": rooms})

    async def _room(self, request: web.Request) -> web.Response:
        room, reader = self._admit(request)
        state = self.directory.room(room)
        if state is None:
            return error_response(404, _NOBODY)
        show = self._operators_json if reader is None else self._room_json
        return web.json_response(show(state))

    def _operators_json(self, state: RoomState) -> dict[str, Any]:
        """With what the room costs."""
        return self._room_json(state) | {"use": self.agents.use(state.name)}

    def _room_json(self, state: RoomState) -> dict[str, Any]:
        heard = self.agents.heard(state.name, state.identities)
        return room_json(state, self.agents.routing(state.name), heard)

    async def _route(self, request: web.Request) -> web.Response:
        room = self._admitted_room(request)
        change = await _read_routing(request)
        state = self.directory.room(room)
        if state is None:
            return error_response(404, _NOBODY)
        _check_names(change, state, self.agents.routing(room))
        has_agent = any(stay.participant.is_agent for stay in state.stays)
        routing = await self.agents.route(room, change, has_agent)
        here = self.directory.room(room) or state  # who came and went meanwhile
        return web.json_response(routing.to_json(person.identity for person in here.people))

    async def _transcript(self, request: web.Request) -> web.Response:
        room, reader = self._admit(request)
        export = request.query.get("format", "json")
        return await self._export(room, export, reader)

    def _admitted_room(self, request: web.Request) -> RoomName:
        return self._admit(request)[0]

    def _admit(self, request: web.Request) -> tuple[RoomName, Identity | None]:
        """The room of the address, and who asks; None is the operator.

        Raises InputError, TokenError or NotAllowed.
        """
        room = parse_room_name(request.match_info["room"])
        token = token_of(request.headers, request.query)
        if token is None and is_operator(request.remote, request.headers):
            return room, None
        identity = check_room_token(token, room, self.verifier).identity
        if self.directory.room(room) is None:  # known to a gateway before us, perhaps
            self.expect_in_sfu(room)
        return room, identity

    async def _export(self, room: RoomName, name: str, reader: Identity | None) -> web.Response:
        from mulisa.store.exports import EXPORTS  # loads webvtt, which few requests need

        export = next((EXPORTS[known] for known in EXPORTS if known == name), None)
        if export is None:
            raise InputError(f"a transcript's format is one of {', '.join(EXPORTS)}")
        transcript = await asyncio.to_thread(self._read_transcript, room)
        if transcript is None:
            return error_response(404, "nothing was said in that room")
        if reader is not None:  # who was whispered to reads that, and nobody else in the room
            transcript = transcript.seen_by(reader)
        write, media_type = export
        text = await asyncio.to_thread(write, transcript)
        return web.Response(text=text, content_type=media_type, charset="utf-8")

    def _read_transcript(self, room: RoomName) -> Transcript | None:
        from mulisa.store.transcript import Transcript, TranscriptReader

        spoken = TranscriptReader(self.config.data_dir).latest(room)
        state = self.directory.room(room)
        if spoken is None and state is not None:
            return Transcript(room, state.created_at.astimezone(UTC), None, ())
        return spoken


async def _read_routing(request: web.Request) -> RoutingChange:
    try:
        return RoutingChange.parse(json.loads(await _read_json(request)))
    except (ValueError, RecursionError) as error:
        raise InputError("the body is not JSON") from error


def _check_names(change: RoutingChange, room: RoomState, routing: Routing) -> None:
    """Raises InputError unless each is somebody here, or who was when they were routed."""
    known = {person.identity for person in room.people} | routing.unheard
    known |= routing.listeners or frozenset()
    named = change.hear.keys() | (change.speak_to or frozenset())
    if strangers := sorted(named - known):
        raise InputError(f"nobody in that room is {strangers[0]!r}")


async def _read_json(request: web.Request) -> bytes:
    """The body of a request that says it is JSON. Raises InputError."""
    if request.content_type != "application/json":
        # A form of another site could be posted without asking (CORS), but not as JSON.
        raise InputError("send JSON with Content-Type: application/json")
    return await request.read()


async def _read_token_request(request: web.Request) -> TokenRequest:
    try:
        return TokenRequest.model_validate_json(await _read_json(request))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{where or 'the body'}: {first['msg'].lower()}") from error


def _websocket_base(request: web.Request) -> str:
    """``ws://HOST:PORT`` as this client reached us."""
    return f"{'wss' if request.secure else 'ws'}://{request.host}"
