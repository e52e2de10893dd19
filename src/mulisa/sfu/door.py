"""Who comes in: a visitor with a token becomes a client of a room, or the client it was."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

from livekit.protocol import models, rtc

from mulisa.core.errors import InputError
from mulisa.core.room import ParticipantSid
from mulisa.sfu.allowance import Allowance
from mulisa.sfu.client import Client
from mulisa.sfu.config import Claims, HostConfig
from mulisa.sfu.errors import LimitExceeded, NotFound
from mulisa.sfu.events import Arrival, Resumption
from mulisa.sfu.forward import Forwarder
from mulisa.sfu.hosted_room import HostedRoom
from mulisa.sfu.joining import Ticket, Wish
from mulisa.sfu.outbox import Outbox
from mulisa.sfu.port import RtcPort
from mulisa.sfu.rooms import Rooms
from mulisa.sfu.sids import new_participant_sid
from mulisa.sfu.standing import Standing


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who is at the door: nothing has been made for it yet."""

    claims: Claims
    ticket: Ticket
    wish: Wish


class Elsewhere(InputError):
    """The room is open in another topology."""


class Door:
    """Of one host: closed until `open`, and again after `close`."""

    def __init__(self, config: HostConfig, rooms: Rooms, forwarder: Forwarder) -> None:
        self.joins = 0
        self.resumes = 0
        self.refused = 0
        """Visitors who were sent away."""
        self._config = config
        self._rooms = rooms
        self._forwarder = forwarder
        now = asyncio.get_running_loop().time()
        self._allowance = Allowance(config.join_rate, config.join_burst, now)
        self._port: RtcPort | None = None

    def open(self, port: RtcPort) -> None:
        """Let visitors in; their connections are made there."""
        self._port = port

    def close(self) -> None:
        """Let nobody in any more."""
        self._port = None

    def check(self, visitor: Visitor) -> None:
        """Raises LimitExceeded, NotFound or Elsewhere if the visitor cannot be let in now."""
        ticket = visitor.ticket
        if self._port is None:
            raise LimitExceeded("the server is shutting down")
        if self._config.is_elsewhere(ticket.room):
            raise Elsewhere("that room is in another topology now; ask for a new token")
        if (room := self._rooms.get(ticket.room)) is not None:
            if room.room.is_full(ticket.identity, ticket.permissions, ticket.kind):
                raise LimitExceeded("that room is full")
            return
        if not self._config.creates_rooms and not ticket.may_create:
            raise NotFound("requested room does not exist")
        self._rooms.check_space()

    def admit(self) -> bool:
        """Count somebody who comes in; False if it is one too many at once."""
        return self._allowance.take(asyncio.get_running_loop().time())

    def enter(self, visitor: Visitor, outbox: Outbox) -> tuple[HostedRoom, Client] | None:
        """Let the visitor in, or back in; None if it was told to come back as new."""
        try:
            self.check(visitor)  # again: that was before the socket was upgraded
        except InputError:
            entered = None
        else:
            sid = visitor.wish.resumes
            entered = (
                self._let_in(visitor, outbox)
                if sid is None
                else self._let_back_in(visitor, sid, outbox)
            )
        if entered is None:
            self.refused += 1
            _turn_away(outbox)
        return entered

    def _let_in(self, visitor: Visitor, outbox: Outbox) -> tuple[HostedRoom, Client]:
        ticket, wish = visitor.ticket, visitor.wish
        room = self._rooms.get(ticket.room) or self._rooms.open(ticket.room, ticket.configuration)
        standing = Standing(visitor.claims, self._config.issue_refresh)
        arrival = self._arrival(visitor, standing.token())
        client = self._client(visitor, arrival.sid, standing, room)
        client.attach(outbox)
        self.joins += 1
        room.enter(client, arrival)
        if (offer := wish.offer) is not None:
            room.attempt(client.sid, lambda: client.take_offer(offer))
        return room, client

    def _let_back_in(
        self, visitor: Visitor, sid: ParticipantSid, outbox: Outbox
    ) -> tuple[HostedRoom, Client] | None:
        room = self._rooms.get(visitor.ticket.room)
        client = room.client(sid, visitor.ticket.identity) if room else None
        if room is None or client is None:
            return None
        self.resumes += 1
        client.attach(outbox)
        servers = self._config.ice_servers(client.identity)
        room.resume(client, Resumption(client.sid, client.standing.token(), tuple(servers)))
        return room, client

    def _client(
        self, visitor: Visitor, sid: ParticipantSid, standing: Standing, room: HostedRoom
    ) -> Client:
        assert self._port is not None
        ticket = visitor.ticket
        return Client(
            sid,
            ticket.identity,
            standing,
            ticket.room,
            self._port,
            self._forwarder,
            room.receive,
            lambda work: room.attempt(sid, work),
            is_single_connection=visitor.wish.is_single_connection,
            hears_everybody=ticket.kind == models.ParticipantInfo.AGENT,
        )

    def _arrival(self, visitor: Visitor, refresh_token: str) -> Arrival:
        ticket, wish = visitor.ticket, visitor.wish
        metadata, attributes = ticket.metadata, dict(ticket.attributes)
        if ticket.permissions.can_update_own_metadata:
            metadata = wish.metadata or metadata
            attributes |= wish.attributes
        return Arrival(
            new_participant_sid(),
            ticket.identity,
            ticket.name,
            ticket.kind,
            metadata,
            attributes,
            ticket.permissions,
            wish.client,
            wish.is_single_connection,
            wish.auto_subscribe,
            datetime.now(UTC),
            refresh_token,
            wish.add_track_requests,
            tuple(self._config.ice_servers(ticket.identity)),
        )


def _turn_away(outbox: Outbox) -> None:
    """What the client knows of us is over: it joins as new, by itself."""
    leave = rtc.LeaveRequest(
        reason=models.DisconnectReason.STATE_MISMATCH, action=rtc.LeaveRequest.RECONNECT
    )
    outbox.send(rtc.SignalResponse(leave=leave).SerializeToString())
    outbox.finish()
