"""Who has the floor: when turns end, when the agent answers, when she holds back or stops.

Pure: `receive(event, now)` settles what fell due before `now`, takes the event and returns what
to do; `deadline()` says when to call again with `Tick`. `now` is seconds on a monotonic clock
and never goes backwards.

An interruption has three steps. At the onset of anybody's speech the reply is *paused*. Speech
that lasts *cuts* it. Speech that ends soon is waited for until its words are known: a cough or an
"mm-hm" *resumes* it at the very sample; words hold it until that turn is over, and then cut it if
they were meant for her or told her to stop, and resume it otherwise.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from mulisa.agent.actions import (
    Action,
    CommitTurn,
    CutReply,
    PauseReply,
    ResumeReply,
    StartReply,
)
from mulisa.agent.endpointing import EndpointingConfig, OpenTurn, Utterance, respelled
from mulisa.agent.events import (
    Event,
    PersonEntered,
    PersonGone,
    QuietRequested,
    ReplyFailed,
    ReplyFinished,
    ReplyStarted,
    SpeechEnded,
    SpeechStarted,
    Transcribed,
    TranscriptionFailed,
    Typed,
    UtteranceId,
)
from mulisa.agent.gate import Exchange, Gate, GateContext, Person, Turn
from mulisa.agent.phrases import is_backchannel
from mulisa.core.provider import Transcription
from mulisa.core.room import Identity

MAX_AWAITED: Final = 512
"""Utterances whose words are waited for after their turn; older ones are given up."""


@dataclass(frozen=True, slots=True)
class FloorConfig:
    """The manners of the agent."""

    endpointing: EndpointingConfig = EndpointingConfig()
    min_interruption: float = 0.7
    """Seconds of speech, the silence that ends it included, that cut a reply."""
    max_decision: float = 1.0
    """Seconds to wait for the words of a short noise before the reply goes on."""
    max_hold: float = 8.0
    """A reply that could not be spoken for so long is given up: it comes too late."""
    max_waiting: int = 3
    """Turns that wait while she answers somebody else; the oldest is dropped."""
    max_age: float = 20.0
    """Seconds after its end at which a waiting turn is no longer answered."""


@dataclass(slots=True)
class _ActiveReply:
    reply_id: int
    turn: Turn
    is_speaking: bool = False
    paused_at: float | None = None
    disturbed_since: float | None = None
    """While paused: since when somebody has been speaking; None while nobody is."""
    disturbed: float = 0.0
    """Seconds of speech before that, in this pause."""
    quiet_since: float = 0.0
    """While paused and nobody speaks: since when."""


@dataclass(slots=True)
class Floor:
    """Decides who speaks next. At most one reply is active at any time."""

    gate: Gate
    config: FloorConfig = FloorConfig()
    _people: dict[Identity, str] = field(default_factory=dict)
    _open: dict[Identity, OpenTurn] = field(default_factory=dict)
    _reply: _ActiveReply | None = None
    _waiting: deque[Turn] = field(default_factory=deque)
    _committed: deque[UtteranceId] = field(default_factory=lambda: deque(maxlen=64))
    """The latest ones."""
    _awaited: dict[UtteranceId, Utterance] = field(default_factory=dict)
    """Committed, but the words are still to come."""
    _exchange: Exchange | None = None
    _others_spoke: bool = False
    _quiet: bool = False
    _replies: int = 0

    def receive(self, event: Event, now: float) -> list[Action]:
        """Everything that follows from the passing of time until `now`, and from `event`."""
        actions = self._settle(now)
        if handle := _HANDLERS.get(type(event)):
            handle(self, event, now, actions)
            actions += self._settle(now)
        return actions

    def end(self, now: float) -> list[CommitTurn]:
        """The stay is over: the turns that were going on, as far as their words are known."""
        actions: list[Action] = []
        for who in list(self._open):
            self._commit(who, now, actions)
        return [action for action in actions if isinstance(action, CommitTurn)]

    def deadline(self) -> float | None:
        """When to call `receive(Tick(), now)`; None while nothing is pending."""
        due = [self._turn_deadline(turn) for turn in self._open.values()]
        due.append(self._reply_deadline())
        return min((at for at in due if at is not None), default=None)

    @property
    def speakers(self) -> frozenset[Identity]:
        """Who is speaking now, as far as the ears know."""
        return frozenset(who for who, turn in self._open.items() if turn.speaking)

    # What falls due

    def _turn_deadline(self, turn: OpenTurn) -> float | None:
        return turn.deadline(self.config.endpointing)

    def _reply_deadline(self) -> float | None:
        """When a paused reply is cut, given up or resumed."""
        reply = self._reply
        if reply is None or reply.paused_at is None:
            return None
        give_up = reply.paused_at + self.config.max_hold
        if reply.disturbed_since is None:
            return min(give_up, reply.quiet_since + self.config.max_decision)
        if reply.is_speaking:
            return reply.disturbed_since + self.config.min_interruption - reply.disturbed
        return give_up

    def _settle(self, now: float) -> list[Action]:
        actions: list[Action] = []
        while True:
            due = [
                (at, who)
                for who, turn in self._open.items()
                if (at := self._turn_deadline(turn)) is not None and at <= now
            ]
            if not due:
                break
            _, who = min(due)
            self._commit(who, now, actions)
        if (deadline := self._reply_deadline()) is not None and deadline <= now:
            self._settle_reply(now, actions)
        self._start_waiting(now, actions)
        return actions

    def _settle_reply(self, now: float, actions: list[Action]) -> None:
        reply = self._reply
        assert reply is not None and reply.paused_at is not None
        if reply.disturbed_since is not None or now >= reply.paused_at + self.config.max_hold:
            self._cut(now, actions)
        elif any(self._is_disturbing(turn) for turn in self._open.values()):
            reply.quiet_since = now  # its end comes soon and decides
        else:
            self._resume(actions)

    def _commit(self, who: Identity, now: float, actions: list[Action]) -> None:
        open_turn = self._open.pop(who)
        turn = Turn(
            identity=who,
            text=open_turn.text,
            started_at=open_turn.started_at,
            ended_at=open_turn.ended_at,
            confidence=open_turn.confidence,
        )
        self._committed.extend(open_turn.utterances)
        self._await_words(open_turn)
        self._judge(turn, tuple(open_turn.utterances.values()), now, actions)
        self._resume_if_undisturbed(actions)

    def _await_words(self, turn: OpenTurn) -> None:
        """Words that come when their turn is over (a busy recogniser) are a turn of their own."""
        late = {u.utterance_id: u for u in turn.utterances.values() if u.text is None}
        self._awaited = dict([*self._awaited.items(), *late.items()][-MAX_AWAITED:])

    def _commit_late(
        self,
        who: Identity,
        late: Utterance,
        words: Transcription,
        now: float,
        actions: list[Action],
    ) -> None:
        text = words.text.strip()
        turn = Turn(who, text, late.started_at, late.ended_at, words.confidence)
        self._judge(turn, (replace(late, text=text),), now, actions)

    # Judging a finished turn

    def _judge(
        self, turn: Turn, utterances: tuple[Utterance, ...], now: float, actions: list[Action]
    ) -> None:
        judgement = self.gate.judge(turn, self._context(now))
        if judgement.respelling is not None:
            turn = replace(turn, text=judgement.respelling.apply(turn.text))
            utterances = respelled(utterances, judgement.respelling)
        actions.append(CommitTurn(turn, utterances, judgement))
        if not turn.text:
            return
        if judgement.command == "stop":
            if self._reply is not None:
                self._cut(now, actions)
            self._waiting.clear()
            return
        if judgement.addressed:
            self._answer(turn, now, actions)
            self._quiet = judgement.command == "quiet"
        elif self._exchange is not None and turn.identity != self._exchange.identity:
            self._others_spoke = True

    def _context(self, now: float) -> GateContext:
        exchange = self._exchange
        if self._reply is not None:
            exchange = Exchange(self._reply.turn.identity, now)
        return GateContext(
            people=tuple(Person(*person) for person in self._people.items()),
            now=now,
            exchange=exchange,
            quiet=self._quiet,
            others_spoke_since=self._others_spoke,
        )

    def _answer(self, turn: Turn, now: float, actions: list[Action]) -> None:
        reply = self._reply
        if reply is not None and (reply.is_speaking or reply.turn.identity == turn.identity):
            if not reply.is_speaking:
                turn = replace(
                    turn,
                    text=f"{reply.turn.text} {turn.text}",
                    started_at=reply.turn.started_at,
                )
            self._cut(now, actions)
        self._waiting.append(turn)
        while len(self._waiting) > self.config.max_waiting:
            self._waiting.popleft()

    def _start_waiting(self, now: float, actions: list[Action]) -> None:
        while self._waiting and now - self._waiting[0].ended_at > self.config.max_age:
            self._waiting.popleft()
        if not self._people:
            self._waiting.clear()
        if self._reply is not None or not self._waiting:
            return
        self._replies += 1
        turn = self._waiting.popleft()
        self._reply = _ActiveReply(self._replies, turn)
        actions.append(StartReply(self._replies, turn))
        if self.speakers:
            self._pause(now, actions)

    # The voice

    def _pause(self, now: float, actions: list[Action]) -> None:
        reply = self._reply
        if reply is None:
            return
        if reply.disturbed_since is None:
            reply.disturbed_since = now
        if reply.paused_at is None:
            reply.paused_at = now
            reply.disturbed = 0.0
            actions.append(PauseReply())

    def _cut(self, now: float, actions: list[Action]) -> None:
        reply = self._reply
        assert reply is not None
        actions.append(CutReply(reply.reply_id))
        if reply.is_speaking:
            self._exchange = Exchange(reply.turn.identity, now)
            self._others_spoke = False
        self._reply = None

    def _note_silence(self, now: float) -> None:
        reply = self._reply
        if reply is not None and reply.disturbed_since is not None and not self.speakers:
            reply.disturbed += now - reply.disturbed_since
            reply.disturbed_since = None
            reply.quiet_since = now

    def _resume_if_undisturbed(self, actions: list[Action]) -> None:
        """Go on unless somebody speaks, or may have said something that the end of turn tells."""
        reply = self._reply
        if reply is None or reply.paused_at is None or reply.disturbed_since is not None:
            return
        turns = self._open.values()
        if all(turn.is_transcribed and not self._is_disturbing(turn) for turn in turns):
            self._resume(actions)

    def _is_disturbing(self, turn: OpenTurn) -> bool:
        """Words of which it is not known yet whether they were meant for her."""
        return bool(turn.text) and not is_backchannel(turn.text)

    def _resume(self, actions: list[Action]) -> None:
        assert self._reply is not None
        self._reply.paused_at = None
        actions.append(ResumeReply())

    # One handler per event

    def _on_speech_started(self, event: SpeechStarted, now: float, actions: list[Action]) -> None:
        if event.utterance_id in self._committed:
            return  # it went on while it was committed; its ear begins a new one at once
        turn = self._open.get(event.identity)
        if turn is None:
            turn = self._open[event.identity] = OpenTurn(event.at)
        turn.speech_started(event.utterance_id, event.at)
        self._pause(now, actions)

    def _on_speech_ended(self, event: SpeechEnded, now: float, actions: list[Action]) -> None:
        turn = self._open.get(event.identity)
        if turn is None:
            return
        turn.speech_ended(event.utterance_id, event.at)
        self._note_silence(now)

    def _on_transcribed(self, event: Transcribed, now: float, actions: list[Action]) -> None:
        words = event.transcription
        if late := self._awaited.pop(event.utterance_id, None):
            self._commit_late(event.identity, late, words, now, actions)
        elif turn := self._open.get(event.identity):
            turn.transcribed(event.utterance_id, words.text, words.confidence)
            self._resume_if_undisturbed(actions)

    def _on_failed(self, event: TranscriptionFailed, now: float, actions: list[Action]) -> None:
        if late := self._awaited.pop(event.utterance_id, None):
            self._commit_late(event.identity, late, Transcription("", 0.0), now, actions)
        elif turn := self._open.get(event.identity):
            turn.transcribed(event.utterance_id, "", 0.0)
            self._resume_if_undisturbed(actions)

    def _on_entered(self, event: PersonEntered, now: float, actions: list[Action]) -> None:
        self._people[event.identity] = event.name

    def _on_gone(self, event: PersonGone, now: float, actions: list[Action]) -> None:
        self._people.pop(event.identity, None)
        if turn := self._open.get(event.identity):
            turn.abandoned(now)
        self._note_silence(now)
        if not self._people and self._reply is not None:
            self._cut(now, actions)  # what nobody hears was not said

    def _on_typed(self, event: Typed, now: float, actions: list[Action]) -> None:
        turn = Turn(event.identity, event.text, now, now, source="chat")
        message = Utterance(event.utterance_id, now, now, event.text)
        self._judge(turn, (message,), now, actions)

    def _on_quiet(self, event: QuietRequested, now: float, actions: list[Action]) -> None:
        self._quiet = event.until_called

    def _on_reply_started(self, event: ReplyStarted, now: float, actions: list[Action]) -> None:
        if self._reply is not None and self._reply.reply_id == event.reply_id:
            self._reply.is_speaking = True

    def _on_reply_finished(self, event: ReplyFinished, now: float, actions: list[Action]) -> None:
        if self._reply is not None and self._reply.reply_id == event.reply_id:
            self._exchange = Exchange(self._reply.turn.identity, now, event.asked_back)
            self._others_spoke = False
            self._reply = None

    def _on_reply_failed(self, event: ReplyFailed, now: float, actions: list[Action]) -> None:
        if self._reply is not None and self._reply.reply_id == event.reply_id:
            self._reply = None


_HANDLERS: dict[type, Callable[[Floor, Any, float, list[Action]], None]] = {
    SpeechStarted: Floor._on_speech_started,
    SpeechEnded: Floor._on_speech_ended,
    Transcribed: Floor._on_transcribed,
    TranscriptionFailed: Floor._on_failed,
    PersonEntered: Floor._on_entered,
    PersonGone: Floor._on_gone,
    Typed: Floor._on_typed,
    QuietRequested: Floor._on_quiet,
    ReplyStarted: Floor._on_reply_started,
    ReplyFinished: Floor._on_reply_finished,
    ReplyFailed: Floor._on_reply_failed,
}
