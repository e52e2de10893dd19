"""Speaks one reply at a time, aloud or to one person, and remembers it as far as it was heard."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from functools import partial
from typing import Final

from mulisa.agent.events import (
    Event,
    ReplyFailed,
    ReplyFinished,
    ReplyStarted,
    Tick,
    UtteranceId,
)
from mulisa.agent.gate import Turn
from mulisa.agent.memory import Memory
from mulisa.agent.mouth import Mouth, MouthConfig, Playout, PlayoutPosition
from mulisa.agent.realtime_reply import RealtimeReply, RealtimeVoice
from mulisa.agent.reply import Reply, ReplyConfig
from mulisa.agent.teller import Teller
from mulisa.agent.tools import Toolbox
from mulisa.core.audio import Samples
from mulisa.core.errors import ProviderError, TransportError
from mulisa.core.metrics import SessionObserver, TurnMetrics
from mulisa.core.provider import Engines, Message
from mulisa.core.room import AgentState, Identity
from mulisa.core.transcript import TranscriptEntry
from mulisa.core.transport import Caption, ChatMessage, Transport

logger = logging.getLogger(__name__)

MAX_SPEECHLESS: Final = 0.4
"""Seconds without sound after which she is not said to be speaking, although she has not done."""
NO_WHISPER: Final = "Sorry, I cannot whisper to you right now. Please ask me again in a moment."
"""Said aloud when the way to one listener cannot be had; it tells nothing of the answer."""
NEVER_WHISPERS: Final = "Sorry, I cannot whisper here. Everybody in this room hears what I say."
"""The same where the room knows no such way, so that asking again is of no use."""


@dataclass(frozen=True, slots=True)
class SpeakerConfig:
    """Pacing; seconds."""

    reply: ReplyConfig = ReplyConfig()
    mouth: MouthConfig = MouthConfig()
    caption_interval: float = 0.2
    """Between two captions of what she is saying."""
    max_opening: float = 3.0
    """The way to the listener of a whisper may take so long."""


@dataclass(slots=True)
class _Speaking:
    """The active reply and the task that works on it."""

    reply_id: int
    segment_id: str
    reply: Reply
    listener: Identity | None
    """Whom it is whispered to; None is everybody."""
    task: asyncio.Task[None] | None = None
    is_told: bool = False

    @property
    def is_heard(self) -> bool:
        """A frame of it was sent."""
        return self.reply.playout.first_frame_sent_at is not None


class Speaker:
    """The agent's voice in one room. What becomes of a reply is reported with `emit`.

    A whisper is thought about while the way to its listener is opened, so it is no later than
    what is said aloud. All methods but `play` return at once.
    """

    def __init__(
        self,
        transport: Transport,
        engines: Engines,
        toolbox: Toolbox,
        memory: Memory,
        teller: Teller,
        observer: SessionObserver,
        emit: Callable[[Event], None],
        config: SpeakerConfig,
        realtime: RealtimeVoice | None = None,
    ) -> None:
        """With `realtime` given it makes the replies while it can."""
        self._transport = transport
        self._engines = engines
        self._toolbox = toolbox
        self._teller = teller
        self._memory = memory
        self._observer = observer
        self._emit = emit
        self._config = config
        self._realtime = realtime
        self._mouth = Mouth(transport.send_frame, config.mouth)
        self._speaking: _Speaking | None = None
        self._gaps = (0, 0)

    @property
    def is_heard(self) -> bool:
        """There is a reply, and a frame of it was sent."""
        return self._speaking is not None and self._speaking.is_heard

    @property
    def state(self) -> AgentState:
        """Listening while there is no reply, or while she lets somebody else speak."""
        if self._speaking is None:
            return AgentState.LISTENING
        now = asyncio.get_running_loop().time()
        if self.is_heard and now - self._mouth.sent_at <= MAX_SPEECHLESS:
            return AgentState.SPEAKING
        return AgentState.LISTENING if self._mouth.paused else AgentState.THINKING

    async def play(self) -> None:
        """Send what there is to say, for ever; a task of the session."""
        await self._mouth.play()

    def begin(
        self,
        reply_id: int,
        segment_id: UtteranceId,
        turn: Turn,
        messages: tuple[Message, ...],
        metrics: TurnMetrics,
        tasks: asyncio.TaskGroup,
        *,
        listener: Identity | None = None,
        speech: Samples | None = None,
    ) -> None:
        """Think, and speak when there is something to say; to `listener` alone if there is one.

        `speech` is how the turn sounded, at 16 kHz, if that is known. Raises RuntimeError while
        another reply is spoken.
        """
        reply = self._reply_to(turn, messages, metrics, listener, speech)
        self._speaking = speaking = _Speaking(reply_id, segment_id, reply, listener)
        speaking.task = tasks.create_task(self._attend(speaking))

    def _reply_to(
        self,
        turn: Turn,
        messages: tuple[Message, ...],
        metrics: TurnMetrics,
        listener: Identity | None,
        speech: Samples | None,
    ) -> Reply:
        playout = self._mouth.begin() if listener is None else self._mouth.begin_whisper()
        make: Callable[..., Reply] = Reply
        if self._realtime is not None and not self._realtime.rests:
            make = partial(RealtimeReply, voice=self._realtime, speech=speech)
        return make(
            turn,
            messages,
            playout,
            metrics,
            llm=self._engines.llm,
            tts=self._engines.tts,
            toolbox=self._toolbox,
            config=self._config.reply,
            listener=listener,
        )

    def pause(self) -> None:
        """Be silent from the next frame on."""
        self._mouth.pause()

    def resume(self) -> None:
        """Go on at the very sample."""
        self._mouth.resume()

    def cut(self) -> None:
        """End the active reply where it is; what was not heard was not said."""
        self._mouth.flush()
        speaking, self._speaking = self._speaking, None
        if speaking is not None and not speaking.is_told:
            assert speaking.task is not None
            speaking.task.cancel()
            self._tell(speaking, speaking.reply.playout.position())

    def lose(self, listener: Identity) -> None:
        """Somebody left: what is whispered to them is not said any more."""
        if self._speaking is not None and self._speaking.listener == listener:
            self._mouth.flush()  # its task sees that, and reports the end

    async def _attend(self, speaking: _Speaking) -> None:
        """See one reply through: think, speak, show the words as they are heard."""
        reply, excuse = speaking.reply, ""
        try:
            async with asyncio.TaskGroup() as tasks:
                jobs = [self._think(reply), self._follow(speaking)]
                if speaking.listener is not None:
                    jobs.append(self._open(reply.playout, speaking.listener))
                working = [tasks.create_task(job) for job in jobs]
                await reply.playout.wait_drained()
                for task in working:
                    task.cancel()
        except* TransportError as failures:
            logger.warning("a whisper could not be opened: %s", failures.exceptions[0])
            excuse = NEVER_WHISPERS if failures.subgroup(_lasts) else NO_WHISPER
        if self._speaking is not speaking:
            return  # cut at the moment of that failure, which outweighs the cancellation
        if excuse:
            await self._excuse(speaking, excuse)
        position = reply.playout.position()
        self._tell(speaking, position)
        self._write_voiceless(speaking)
        self._speaking = None
        if reply.failed or not speaking.is_heard:
            self._observer.reply_failed()
        if not speaking.is_heard:
            self._emit(ReplyFailed(speaking.reply_id))
        else:
            asked = position.heard_text.rstrip().endswith("?")
            self._emit(ReplyFinished(speaking.reply_id, asked))

    async def _think(self, reply: Reply) -> None:
        try:
            await reply.run()
        except ProviderError as error:
            logger.warning("a reply ended early: %s", error)
            reply.playout.finish()

    async def _open(self, playout: Playout, listener: Identity) -> None:
        """Open the way to one listener while the reply is thought about."""
        try:
            async with asyncio.timeout(self._config.max_opening):
                send = await self._transport.whisper(listener)
        except TimeoutError as error:
            limit = self._config.max_opening
            raise TransportError(f"{listener} was not reached within {limit:g} s") from error
        playout.open(send)

    async def _excuse(self, speaking: _Speaking, excuse: str) -> None:
        """Say aloud that there is no whisper, unless the one who asked for it is gone."""
        listener, speaking.listener = speaking.listener, None
        speaking.reply.failed = True
        if listener not in self._transport.participants:
            self._mouth.flush()
            return
        playout = speaking.reply.playout = self._mouth.begin_aloud_instead()
        async with asyncio.TaskGroup() as tasks:
            working = [
                tasks.create_task(self._say(speaking.reply, excuse)),
                tasks.create_task(self._follow(speaking)),
            ]
            await playout.wait_drained()
            for task in working:
                task.cancel()

    async def _say(self, reply: Reply, text: str) -> None:
        try:
            await reply.say(text)
        except ProviderError as error:
            logger.warning("not even an excuse could be said: %s", error)
            reply.playout.finish()

    async def _follow(self, speaking: _Speaking) -> None:
        reply = speaking.reply
        started_at = await reply.playout.wait_started()
        if started_at is None:
            return
        reply.metrics.first_frame_sent_at = started_at
        self._observer.reply_started(reply.metrics)
        self._emit(ReplyStarted(speaking.reply_id))
        shown, state = "", self.state
        while True:
            if state is not self.state:  # silence changes it, and its end
                state = self.state
                self._emit(Tick())
            heard = reply.playout.position().heard_text
            if heard != shown:
                shown = heard
                self._teller.show(
                    Caption(
                        speaking.segment_id,
                        self._transport.local.identity,
                        heard,
                        final=False,
                        listener=speaking.listener,
                    )
                )
            await asyncio.sleep(self._config.caption_interval)

    def _tell(self, speaking: _Speaking, position: PlayoutPosition) -> None:
        """A reply has ended: remember it as far as it was heard."""
        if speaking.is_told:
            return
        speaking.is_told = True
        speaking.reply.ended(position)
        self._report_gaps()
        started_at = speaking.reply.playout.first_frame_sent_at
        if started_at is None or not position.heard_text:
            return
        now = asyncio.get_running_loop().time()
        turn, listener, local = speaking.reply.turn, speaking.listener, self._transport.local
        self._memory.replied(
            position.heard_text,
            position.unspoken_text,
            turn.identity,
            started_at,
            now,
            listener=listener,
        )
        self._teller.write(
            TranscriptEntry(
                segment_id=speaking.segment_id,
                identity=local.identity,
                name=local.name,
                kind="agent",
                source="voice",
                text=position.heard_text,
                started_at=self._memory.wall(started_at).astimezone(UTC),
                ended_at=self._memory.wall(now).astimezone(UTC),
                interrupted=bool(position.unspoken_text),
                unspoken=position.unspoken_text,
                listener=listener,
            )
        )
        if turn.source == "chat":
            self._teller.chat(ChatMessage(speaking.segment_id, position.heard_text, listener))

    def write(
        self, segment_id: str, turn: Turn, text: str, *, listener: Identity | None = None
    ) -> None:
        """Write an answer in the chat instead of speaking it; to `listener` alone if given."""
        local, now = self._transport.local, asyncio.get_running_loop().time()
        self._teller.chat(ChatMessage(segment_id, text, listener))
        self._memory.replied(text, "", turn.identity, now, now, listener=listener)
        self._teller.write(
            TranscriptEntry(
                segment_id=segment_id,
                identity=local.identity,
                name=local.name,
                kind="agent",
                source="chat",
                text=text,
                started_at=self._memory.wall(now).astimezone(UTC),
                ended_at=self._memory.wall(now).astimezone(UTC),
                listener=listener,
            )
        )

    def _write_voiceless(self, speaking: _Speaking) -> None:
        """What there was no voice for; the transcript has it already as the end of what was."""
        reply, text = speaking.reply, " ".join(speaking.reply.voiceless)
        if not text:
            return
        if speaking.is_heard:
            message = ChatMessage(f"{speaking.segment_id}-written", text, speaking.listener)
            self._teller.chat(message)
        else:
            self.write(speaking.segment_id, reply.turn, text, listener=speaking.listener)

    def _report_gaps(self) -> None:
        before, self._gaps = self._gaps, (self._mouth.underruns, self._mouth.stalls)
        underruns, stalls = (now - then for now, then in zip(self._gaps, before, strict=True))
        if underruns or stalls:
            self._observer.voice_gaps(underruns=underruns, stalls=stalls)


def _lasts(error: Exception) -> bool:
    """It would be the same another time."""
    return isinstance(error, TransportError) and not error.retryable
