"""The agent's stay in one room: joins ears, floor, replies and mouth to a transport.

Everything is decided elsewhere (floor, gate); this is the shell that waits and does. Its tasks:

- *hear*: what the transport reports; one ear per participant
- *converse*: events to the floor, the floor's actions to the rest
- *speak*: the pacing of her voice (`speaker`)
- *report*: whose voice comes to us
- *tell*: the teller, which writes down and shows, in order
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Final
from uuid import uuid4

from mulisa.agent.actions import Action, CommitTurn, CutReply, PauseReply, ResumeReply, StartReply
from mulisa.agent.discretion import is_private
from mulisa.agent.ear import Ear, EarConfig
from mulisa.agent.endpointing import Utterance
from mulisa.agent.events import (
    Event,
    InterimTranscribed,
    PersonEntered,
    PersonGone,
    QuietRequested,
    SpeechStarted,
    Tick,
    Transcribed,
    TranscriptionFailed,
    Typed,
    UtteranceId,
    typed_id,
)
from mulisa.agent.floor import Floor, FloorConfig
from mulisa.agent.gate import Gate, GateConfig, Turn
from mulisa.agent.memory import Memory, MemoryConfig
from mulisa.agent.mouth import MouthConfig
from mulisa.agent.persona import Persona
from mulisa.agent.realtime_reply import RealtimeConfig, RealtimeVoice
from mulisa.agent.recordings import Recordings
from mulisa.agent.reply import ReplyConfig
from mulisa.agent.speaker import Speaker, SpeakerConfig
from mulisa.agent.teller import Teller
from mulisa.agent.tools import Presence, Toolbox
from mulisa.agent.troubles import Troubles, shown_to_room
from mulisa.core.account import Account, Trouble, is_first_to_tell, working_for
from mulisa.core.errors import MulisaError, TransportError
from mulisa.core.events import (
    ChatReceived,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantUpdated,
    TrackSubscribed,
    TransportEvent,
)
from mulisa.core.leaving import LAST_WORDS
from mulisa.core.metrics import SessionObserver, TurnMetrics
from mulisa.core.provider import Engines
from mulisa.core.room import (
    AGENT_STATE_ATTRIBUTE,
    TROUBLE_ATTRIBUTE,
    AgentState,
    Identity,
    Participant,
    RoomName,
    Topology,
)
from mulisa.core.routing import Routing
from mulisa.core.transcript import TranscriptEntry, TranscriptLog
from mulisa.core.transport import Caption, ChatMessage, Transport

logger = logging.getLogger(__name__)

NOTICEABLE: Final = 1.0
"""Seconds that she may stay for last words before somebody wonders."""


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """Settings of one session, stage by stage."""

    ear: EarConfig = field(default_factory=EarConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    floor: FloorConfig = field(default_factory=FloorConfig)
    reply: ReplyConfig = field(default_factory=ReplyConfig)
    mouth: MouthConfig = field(default_factory=MouthConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    realtime: RealtimeConfig = field(default_factory=RealtimeConfig)
    caption_interval: float = 0.2
    """Seconds between two captions of what she is saying."""
    ear_pause: float = 1.0
    """Seconds after which an ear that failed hears again."""
    max_delivery: float = 5.0
    """Seconds that writing or showing one piece of text may take."""
    max_opening: float = 3.0
    """Seconds until the way to the listener of a whisper is given up."""
    reception_interval: float = 1.0
    """Seconds between two reports of whose voice comes to her."""
    max_last_words: float = LAST_WORDS
    """Seconds that she stays for the words of what was said when she is sent away."""

    def speaker(self) -> SpeakerConfig:
        """The settings of her voice."""
        return SpeakerConfig(self.reply, self.mouth, self.caption_interval, self.max_opening)


class Session:
    """One agent in one room, from joining to leaving."""

    def __init__(
        self,
        transport: Transport,
        engines: Engines,
        persona: Persona,
        log: TranscriptLog,
        config: SessionConfig | None = None,
        observer: SessionObserver | None = None,
        account: Account | None = None,
    ) -> None:
        """`account` is what the engines used for the room before, and may use; it tells us."""
        self._transport = transport
        self._engines = engines
        self._persona = persona
        self._log = log
        self._config = config or SessionConfig()
        self._observer = observer or SessionObserver()
        self._account = account or Account()
        self._account.on_spent = self._observer.engine_used
        self._account.on_trouble = self._hear_trouble
        self._troubles = Troubles()
        self._settling: asyncio.TimerHandle | None = None
        self._shown_trouble = ""
        self._floor = Floor(Gate(self._config.gate, persona), self._config.floor)
        self._inbox: asyncio.Queue[Event] = asyncio.Queue()
        self._teller = Teller(transport, log, self._config.max_delivery)
        self._ears: dict[Identity, Ear] = {}
        self._listening: set[asyncio.Task[None]] = set()
        self._people: dict[Identity, Presence] = {}
        self._transcribed_at: dict[Identity, float] = {}
        self._state: AgentState | None = None
        self._recordings = Recordings()
        self._realtime: RealtimeVoice | None = None
        self._is_leaving = False
        self._stay = uuid4().hex[:8]
        self._numbers = count(1)

    async def run(self) -> None:
        """Join, take part until we leave or are removed, and write down the last words.

        Cancel to leave. Raises TransportError when the room cannot be joined or is lost.
        """
        loop = asyncio.get_running_loop()
        self._clock = loop.time
        wall = datetime.now().astimezone()
        self._memory = Memory(
            self._config.memory, agent=self._persona.name, now=loop.time(), wall=wall
        )
        if (realtime := self._engines.realtime) is not None:
            self._realtime = RealtimeVoice(realtime.session(), self._config.realtime)
        self._speaker = Speaker(
            self._transport,
            self._engines,
            Toolbox(self._memory, self, self),
            self._memory,
            self._teller,
            self._observer,
            self._inbox.put_nowait,
            self._config.speaker(),
            self._realtime,
        )
        with working_for(self._account):
            await self._take_part()

    async def _take_part(self) -> None:
        async with self._transport, asyncio.TaskGroup() as outer:
            await self._recall()
            telling = outer.create_task(self._teller.run())
            try:
                async with asyncio.TaskGroup() as self._tasks:
                    steady = [self._tasks.create_task(job) for job in self._steady_jobs()]
                    try:
                        await self._hear()
                    finally:
                        await self._await_last_words()
                    for task in (*steady, *self._listening):
                        task.cancel()
                    self._speaker.cut()
            finally:
                self._speaker.cut()
                for turn in self._floor.end(self._clock()):
                    self._commit(turn)
                self._account.on_trouble = lambda trouble: None
                if self._settling:
                    self._settling.cancel()
                await self._teller.all_told()
                telling.cancel()

    async def _recall(self) -> None:
        """Know what was said in this call before: she may have been here and have crashed."""
        try:
            async with asyncio.timeout(self._config.max_delivery):
                entries = await self._log.recent(
                    self._transport.room, self._config.memory.max_recalled
                )
        except (MulisaError, TimeoutError) as error:
            logger.warning("what was said before is not known: %s", error)
        else:
            self._memory.recall(entries)

    async def _await_last_words(self) -> None:
        """Say and hear nothing more, but wait for the words of what was heard."""
        self._is_leaving = True
        self._speaker.cut()
        for ear in self._ears.values():
            ear.finish()
        if self._listening:
            _, late = await asyncio.wait(self._listening, timeout=NOTICEABLE)
            if late:
                rest = self._config.max_last_words - NOTICEABLE
                self._observer.last_words_awaited(rest)
                await asyncio.wait(late, timeout=rest)
        while not self._inbox.empty():
            self._receive(self._inbox.get_nowait())

    def _steady_jobs(self) -> tuple[Coroutine[None, None, None], ...]:
        jobs = self._converse(), self._speaker.play(), self._report_reception()
        return jobs if self._realtime is None else (*jobs, self._realtime.session.run())

    # Hear

    async def _hear(self) -> None:
        self._show_state()
        async for event in self._transport.events():
            self._notice(event)

    def _notice(self, event: TransportEvent) -> None:
        match event:
            case ParticipantJoined(participant) if not participant.is_agent:
                self._memory.joined(participant, self._clock())
                self._meet(participant, self._clock())
                self._inbox.put_nowait(PersonEntered(participant.identity, participant.name))
            case ParticipantUpdated(participant) if participant.identity in self._people:
                self._memory.joined(participant, self._clock())
                self._meet(participant, self._people[participant.identity].joined_at)
                self._inbox.put_nowait(PersonEntered(participant.identity, participant.name))
            case ParticipantLeft(participant) if participant.identity in self._people:
                self._memory.left(participant, self._clock())
                del self._people[participant.identity]
                self._ears.pop(participant.identity, None)
                self._transcribed_at.pop(participant.identity, None)
                self._speaker.lose(participant.identity)
                self._inbox.put_nowait(PersonGone(participant.identity))
            case TrackSubscribed(identity) if identity in self._people:
                listening = self._tasks.create_task(self._listen(identity))
                self._listening.add(listening)
                listening.add_done_callback(self._listening.discard)
            case ChatReceived(identity, message_id, text) if identity in self._people:
                self._inbox.put_nowait(Typed(identity, typed_id(identity, message_id), text))

    def _meet(self, participant: Participant, joined_at: float) -> None:
        self._people[participant.identity] = Presence(
            participant.identity, participant.name, joined_at, participant.muted
        )
        for ear in self._ears.values():
            ear.names = self._names()

    def _names(self) -> tuple[str, ...]:
        return (self._persona.name, *(person.name for person in self._people.values()))

    async def _listen(self, identity: Identity) -> None:
        """Hear one subscription; that of a replaced connection may still have words to report."""
        ear = self._ears.get(identity)
        if ear is None:
            ear = self._ears[identity] = Ear(
                identity,
                self._engines.vad,
                self._engines.stt,
                self._inbox.put_nowait,
                self._config.ear,
                self._names(),
                self._next_utterance_id,
                self._recordings.push if self._realtime is not None else None,
            )
        while identity in self._people:
            try:
                return await ear.run(self._transport.frames(identity))
            except Exception:
                logger.exception("an ear failed and tries again", extra={"identity": identity})
                await asyncio.sleep(self._config.ear_pause)

    async def _report_reception(self) -> None:
        """Tell everybody whose voice came to us, again and again."""
        before: dict[Identity, int] = {}
        while True:
            await asyncio.sleep(self._config.reception_interval)
            received = {identity: self._count_received(identity) for identity in self._people}
            heard = (who for who, n in received.items() if n and n != before.get(who, 0))
            if self._people:
                await self._send_reception(frozenset(heard))
            before = received

    def _count_received(self, identity: Identity) -> int:
        stats = self._transport.stats(identity)
        return stats.packets_received or stats.frames_received

    async def _send_reception(self, heard: frozenset[Identity]) -> None:
        try:
            async with asyncio.timeout(self._config.max_delivery):
                await self._transport.send_reception(heard)
        except (TransportError, TimeoutError) as error:
            logger.debug("nobody was told who is received: %s", error)

    def _next_utterance_id(self) -> UtteranceId:
        return UtteranceId(f"{self._stay}-{next(self._numbers)}")

    # Converse

    async def _converse(self) -> None:
        while True:
            try:
                async with asyncio.timeout_at(self._floor.deadline()):
                    event = await self._inbox.get()
            except TimeoutError:
                event = Tick()
            self._receive(event)

    def _receive(self, event: Event) -> None:
        self._glance(event)
        for action in self._floor.receive(event, self._clock()):
            self._perform(action)
        self._show_state()

    def _glance(self, event: Event) -> None:
        """What is shown or measured of an event before the floor decides about it."""
        match event:
            case SpeechStarted() | Typed():
                self._transport.expect_speech()
            case InterimTranscribed(identity, utterance_id, text) if text:
                self._teller.show(Caption(utterance_id, identity, text, final=False))
            case Transcribed(identity, utterance_id, words) if words.text:
                self._transcribed_at[identity] = self._clock()
                self._teller.show(Caption(utterance_id, identity, words.text, final=False))
            case TranscriptionFailed(reason=reason):
                logger.warning("an utterance could not be transcribed: %s", reason)

    def _perform(self, action: Action) -> None:
        match action:
            case CommitTurn():
                self._commit(action)
            case StartReply(reply_id, turn) if not self._is_leaving:
                self._answer(reply_id, turn)
            case PauseReply():
                self._speaker.pause()
            case ResumeReply():
                self._speaker.resume()
            case CutReply():
                if self._speaker.is_heard:
                    self._observer.reply_interrupted()
                self._speaker.cut()

    def _commit(self, action: CommitTurn) -> None:
        turn = action.turn
        for utterance in action.utterances:
            if ear := self._ears.get(turn.identity):
                ear.commit(utterance.utterance_id)
            self._write_utterance(turn, utterance)
        addressed = action.judgement.addressed
        understood = [u.utterance_id for u in action.utterances if u.text is not None]
        self._recordings.commit(turn, understood, addressed=addressed)
        if turn.text:
            self._observer.turn_committed(addressed=addressed)
            self._memory.said(
                turn.identity,
                self._name_of(turn.identity),
                turn.text,
                turn.started_at,
                turn.ended_at,
                addressed,
                turn.source,
            )
            logger.debug("turn committed", extra={"reasons": action.judgement.reasons})
            if addressed and self._clock() - turn.ended_at > self._config.floor.max_age:
                self._excuse_lateness(turn)

    def _excuse_lateness(self, turn: Turn) -> None:
        """The floor answers no question that is so old: its words were with the recogniser."""
        listener = turn.identity if self._wants_whisper(turn) else None
        text = self._config.reply.too_late
        self._speaker.write(self._next_utterance_id(), turn, text, listener=listener)

    def _name_of(self, identity: Identity) -> str:
        stays = self._memory.stays()
        return next((stay.name for stay in reversed(stays) if stay.identity == identity), identity)

    # Speak

    def _answer(self, reply_id: int, turn: Turn) -> None:
        metrics = TurnMetrics(speech_ended_at=turn.ended_at, committed_at=self._clock())
        if turn.source == "voice":
            metrics.transcribed_at = self._transcribed_at.get(turn.identity)
        listener = turn.identity if self._wants_whisper(turn) else None
        labels = {stay.identity: stay.name for stay in self._memory.stays()}
        names = [labels[identity] for identity in self._people]
        system = self._persona.system_prompt(room=self._transport.room, people=names)
        if listener is not None:
            system += f"\nYou whisper this answer: only {self._name_of(listener)} hears it."
        self._speaker.begin(
            reply_id,
            self._next_utterance_id(),
            turn,
            self._memory.messages(system, asker=turn.identity, listener=listener),
            metrics,
            self._tasks,
            listener=listener,
            speech=self._recordings.take(turn),
        )

    def _wants_whisper(self, turn: Turn) -> bool:
        who = turn.identity
        last = self._memory.last_reply(who, listener=who)
        return is_private(turn.text, after_whisper=last is not None and last.listener == who)

    # Tell

    def _write_utterance(self, turn: Turn, utterance: Utterance) -> None:
        if utterance.text is None:
            return  # they come later, as a turn of their own
        if not utterance.text:
            self._teller.show(Caption(utterance.utterance_id, turn.identity, "", final=True))
            return
        self._teller.write(
            TranscriptEntry(
                segment_id=utterance.utterance_id,
                identity=turn.identity,
                name=self._name_of(turn.identity),
                kind="standard",
                source=turn.source,
                text=utterance.text,
                started_at=self._wall(utterance.started_at),
                ended_at=self._wall(utterance.ended_at),
            )
        )

    def _show_state(self) -> None:
        state = self._speaker.state
        if state is not self._state:
            self._state = state
            self._teller.set_attributes({AGENT_STATE_ATTRIBUTE: state.value})

    def _hear_trouble(self, trouble: Trouble) -> None:
        """An engine fails this room, or works again."""
        self._tell_troubles(self._troubles.receive(trouble, self._clock()))
        cannot_say_it = trouble.stage in ("stt", "tts")  # else the next answer does
        if cannot_say_it and trouble.reason and not trouble.successor:
            self._write_that_the_budget_is_spent()

    def _settle_troubles(self) -> None:
        self._tell_troubles(self._troubles.settle(self._clock()))

    def _tell_troubles(self, news: Sequence[Trouble]) -> None:
        """Tell the observer what is new, and show the room what holds."""
        for trouble in news:
            self._observer.engine_trouble(trouble)
        shown = shown_to_room(self._troubles.current)
        if shown != self._shown_trouble:
            self._shown_trouble = shown
            self._teller.set_attributes({TROUBLE_ATTRIBUTE: shown})
        if self._settling:
            self._settling.cancel()
        deadline = self._troubles.deadline()
        loop = asyncio.get_running_loop()
        self._settling = loop.call_at(deadline, self._settle_troubles) if deadline else None

    def _write_that_the_budget_is_spent(self) -> None:
        if self._account.is_spent and is_first_to_tell():
            text = self._config.reply.budget_spent
            self._teller.chat(ChatMessage(self._next_utterance_id(), text))

    def _wall(self, at: float) -> datetime:
        return self._memory.wall(at).astimezone(UTC)

    # What the tools may see and do

    @property
    def room(self) -> RoomName:
        """The room's name."""
        return self._transport.room

    @property
    def topology(self) -> Topology:
        """How its participants are connected."""
        return self._transport.topology

    @property
    def people(self) -> Sequence[Presence]:
        """Everybody present but agents, in order of coming."""
        return tuple(self._people.values())

    @property
    def routing(self) -> Routing:
        """Whom she hears and to whom she speaks."""
        return self._transport.routing

    async def hear(self, identity: Identity, on: bool) -> None:
        """Listen to somebody or do not; returns when it is so. Raises TransportError."""
        await self._transport.hear(identity, on)

    async def speak_to(self, listeners: frozenset[Identity] | None) -> None:
        """Speak to these only, or to everybody; returns when it is so. Raises TransportError."""
        await self._transport.speak_to(listeners)

    def stay_quiet(self, until_called: bool = True) -> None:
        """Say nothing more until somebody calls her by name; False takes it back."""
        self._inbox.put_nowait(QuietRequested(until_called))

    async def connection(self, identity: Identity) -> str:
        """How a person is connected to her, one spoken sentence; empty if it is not known."""
        if identity not in self._people:
            return ""
        stats = self._transport.stats(identity)
        how = {
            "mesh": "You are connected directly to me and to everybody else, peer to peer.",
            "sfu": "You have one connection to the server, which passes your voice on.",
        }[self._transport.topology]
        received = stats.frames_received + stats.packets_lost
        if not received:
            return f"{how} I have not heard any sound from you yet."
        lost = 100 * stats.packets_lost / received
        return f"{how} {lost:.1f} percent of your sound was lost on the way."
