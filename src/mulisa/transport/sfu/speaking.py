"""What we say in an SFU room and to whom: the main voice, whispers, and who may hear them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from livekit import rtc
from livekit.rtc.participant import UnpublishTrackError

from mulisa.core.audio import Samples
from mulisa.core.errors import TransportError
from mulisa.core.room import Identity
from mulisa.core.transport import SendFrame
from mulisa.transport.sfu.people import VOICE_TRACK, WHISPER_TRACK
from mulisa.transport.sfu.permissions import Permissions, permissions
from mulisa.transport.sfu.voice import Voice
from mulisa.transport.watch import Watch

logger = logging.getLogger(__name__)

ROUTED_METHOD: Final = "mulisa.routed"
"""RPC: ``{"track": sid}``; a listener answers ``ok`` once it receives nothing of it any more."""
STILL_SUBSCRIBED: Final = 2_001
"""The listener's error when that does not come about."""
CONFIRM_TIME: Final = 4.0
"""Seconds a listener may take to answer."""
MARGIN: Final = 0.1
"""Seconds beyond two round trips after which nothing is on its way any more."""
CLOSING_TIME: Final = 2.0
WHISPER_TIME: Final = 5.0
"""Seconds until somebody must be subscribed to a whisper."""

_GONE: Final = (
    rtc.RpcError.ErrorCode.RECIPIENT_NOT_FOUND,
    rtc.RpcError.ErrorCode.RECIPIENT_DISCONNECTED,
)


class Speaking:
    """Our published tracks. Belongs to one event loop; its changes happen one after another."""

    def __init__(
        self,
        room: rtc.Room,
        listeners: frozenset[Identity] | None,
        *,
        watch: Watch,
        people: Callable[[], Collection[Identity]],
        barrier: Callable[[], Awaitable[float]],
    ) -> None:
        """`people` are the others in the room but agents, whom a server lets hear everything.

        `barrier` returns when the server has handled what was sent to it before, and after how
        many seconds that was.
        """
        self.listeners = listeners
        """To whom the main voice goes; None is everybody."""
        self._room = room
        self._watch = watch
        self._people = people
        self._barrier = barrier
        self._voice = Voice(VOICE_TRACK, rtc.TrackSource.SOURCE_MICROPHONE)
        self._whispers: dict[Identity, Voice] = {}
        self._subscribed: set[str] = set()
        self._permitted: Permissions | None = None
        self._unconfirmed: set[Identity] = set()
        self._changing = asyncio.Lock()
        self._is_away = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def voice_sid(self) -> str:
        """Of the main voice's publication; empty before `begin`."""
        return self._voice.sid

    async def begin(self) -> None:
        """Publish the main voice. Raises TransportError."""
        if self.listeners is not None:
            self._permit(is_private=True)
        await self._voice.publish(self._room.local_participant)
        self._permit()
        self._hold_or_release()

    def send(self, samples: Samples) -> None:
        """Speak 20 ms to the listeners now."""
        self._voice.speak(samples)

    def expect(self) -> None:
        """Be ready to speak without delay."""
        if self._people():
            self._voice.expect()

    def choose(self, listeners: frozenset[Identity] | None) -> None:
        """Speak to these from now on; `confirm` returns once nothing reaches anybody else."""
        self._unconfirmed |= self._hearing()
        self.listeners = listeners
        self._permit()
        self._hold_or_release()

    async def confirm(self) -> None:
        """Return when nothing of the main voice is on its way to those who shall not have it.

        Raises TransportError if somebody is still subscribed to it.
        """
        round_trip = await self._barrier()
        self._unconfirmed -= self._hearing()
        self._unconfirmed &= set(self._people())
        asked = list(self._unconfirmed)
        confirmed = await asyncio.gather(*[self._confirm_one(each, round_trip) for each in asked])
        still = [who for who, is_so in zip(asked, confirmed, strict=True) if not is_so]
        self._unconfirmed -= {who for who in asked if who not in still}
        if still:
            raise TransportError(f"{', '.join(still)} may not hear us, but has not unsubscribed")

    async def whisper(self, listener: Identity) -> SendFrame:
        """As `Transport.whisper`: a track that this person alone may subscribe to."""
        async with self._changing:
            whisper = self._whispers.get(listener) or await self._publish_whisper(listener)
        try:
            async with asyncio.timeout(WHISPER_TIME):
                await self._watch.until(lambda: self._reaches(listener, whisper))
        except TimeoutError as error:
            self.left(listener)
            raise TransportError(
                f"{listener} did not subscribe to a whisper within {WHISPER_TIME:.0f} s"
            ) from error
        if self._whispers.get(listener) is not whisper:
            raise TransportError(f"{listener} is not in the room")
        whisper.expect()
        return whisper.speak

    def joined(self) -> None:
        """Somebody came: the server is told what they may hear."""
        self._permit()

    def left(self, identity: Identity) -> None:
        """Somebody is gone, and the whisper that was for them."""
        self._unconfirmed.discard(identity)
        whisper = self._whispers.pop(identity, None)
        if whisper is not None:
            task = asyncio.create_task(self._unpublish(whisper), name="sfu whisper ends")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            self._watch.changed()
        self._permit()

    def subscribed(self, sid: str) -> None:
        """Somebody, or somebody else, is subscribed to one of our tracks."""
        self._subscribed.add(sid)
        self._watch.changed()

    def muted_by_host(self, sid: str) -> bool:
        """The room says that a track of ours was muted. True if a host did that to our voice."""
        for whisper in self._whispers.values():
            if whisper.sid == sid:
                whisper.muted_by_others()
                return False
        return sid == self._voice.sid and self._voice.muted_by_others()

    def reconnecting(self) -> None:
        """A new connection may begin with everybody subscribed, so what is not for all waits."""
        self._is_away = True
        if self.listeners is not None or self._whispers:
            for voice in (self._voice, *self._whispers.values()):
                voice.hold()

    async def reconnected(self) -> None:
        """Make everything so again. Raises TransportError."""
        async with self._changing:
            self._is_away = False
            self._permitted = None
            self._permit()
            if self.listeners is not None or self._whispers:
                await self._barrier()
            for voice in (self._voice, *self._whispers.values()):
                voice.renewed()
            self._hold_or_release()

    async def aclose(self) -> None:
        """End all pumps. The tracks end with the connection."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSING_TIME)
        for task in self._tasks:
            task.cancel()
        for voice in (self._voice, *self._whispers.values()):
            await voice.aclose()

    def _hearing(self) -> set[Identity]:
        """People in the room who may hear the main voice."""
        people = set(self._people())
        return people if self.listeners is None else people & self.listeners

    def _hold_or_release(self) -> None:
        if self._is_away:
            return
        for whisper in self._whispers.values():
            whisper.release()
        if self.listeners is not None and not self.listeners:
            self._voice.hold()
        else:
            self._voice.release()

    def _permit(self, *, is_private: bool = False) -> None:
        """Tell the server what follows from the present state, if it does not know yet."""
        whispers = {identity: whisper.sid for identity, whisper in self._whispers.items()}
        permitted = permissions(
            self.listeners, self._people(), self.voice_sid, whispers, is_private=is_private
        )
        if permitted == self._permitted or not self._room.isconnected():
            return
        if self._permitted is None and permitted.everything_for_all:
            return  # which is what a server begins with
        self._permitted = permitted
        self._room.local_participant.set_track_subscription_permissions(
            allow_all_participants=permitted.everything_for_all,
            participant_permissions=[
                rtc.ParticipantTrackPermission(
                    participant_identity=identity, allow_all=False, allowed_track_sids=sids
                )
                for identity, sids in permitted.tracks.items()
            ],
        )

    async def _confirm_one(self, listener: Identity, round_trip: float) -> bool:
        grace = 2 * round_trip + MARGIN
        try:
            await self._room.local_participant.perform_rpc(
                destination_identity=listener,
                method=ROUTED_METHOD,
                payload=json.dumps({"track": self.voice_sid}),
                response_timeout=CONFIRM_TIME,
                max_round_trip_latency=CONFIRM_TIME / 4,
            )
        except rtc.RpcError as error:
            if error.code in _GONE:
                return True
            if error.code == STILL_SUBSCRIBED:
                return False
            logger.debug("a listener does not confirm: %s", error)
            await asyncio.sleep(grace)  # its server does, and what is on its way arrives meanwhile
        return True

    async def _publish_whisper(self, listener: Identity) -> Voice:
        if listener not in self._people():
            raise TransportError(f"{listener} is not in the room")
        self._permit(is_private=True)
        await self._barrier()
        whisper = Voice(WHISPER_TRACK, rtc.TrackSource.SOURCE_UNKNOWN)
        try:
            await whisper.publish(self._room.local_participant)
        except BaseException:
            await whisper.aclose()
            raise
        self._whispers[listener] = whisper
        self._permit()
        return whisper

    def _reaches(self, listener: Identity, whisper: Voice) -> bool:
        """The one who may be subscribed is, or they are gone."""
        return self._whispers.get(listener) is not whisper or whisper.sid in self._subscribed

    async def _unpublish(self, whisper: Voice) -> None:
        await whisper.aclose()
        try:
            if self._room.isconnected() and whisper.sid:
                await self._room.local_participant.unpublish_track(whisper.sid)
        except UnpublishTrackError as error:
            logger.warning("a whisper could not be unpublished: %s", error.message)
