"""What happens in a session, and what one turn cost, stamped stage by stage on one clock."""

from __future__ import annotations

from dataclasses import dataclass

from mulisa.core.account import Trouble, Unit


@dataclass(slots=True)
class TurnMetrics:
    """Stamps of one turn: seconds on the event loop's clock, None for what did not happen."""

    speech_ended_at: float
    """Last audible sample of the person, as the ear received it."""
    transcribed_at: float | None = None
    committed_at: float | None = None
    """The floor decided that the turn is over."""
    first_token_at: float | None = None
    first_audio_at: float | None = None
    """The TTS gave the first samples of the reply."""
    first_frame_sent_at: float | None = None

    def stages(self) -> dict[str, float]:
        """Seconds spent per stage; a stage whose two stamps are not there is left out."""
        path = (
            ("transcription", self.speech_ended_at, self.transcribed_at),
            ("endpointing", self.speech_ended_at, self.committed_at),
            ("first_token", self.committed_at, self.first_token_at),
            ("first_audio", self.first_token_at, self.first_audio_at),
            ("response", self.speech_ended_at, self.first_frame_sent_at),
        )
        return {name: b - a for name, a, b in path if a is not None and b is not None}


class SessionObserver:
    """Told what happens in a session, on its event loop; does nothing.

    Override what you want to know. A method must neither block nor raise.
    """

    def turn_committed(self, *, addressed: bool) -> None:
        """Somebody's turn with words in it is over; `addressed` if it was meant for the agent."""

    def reply_started(self, metrics: TurnMetrics) -> None:
        """The first frame of a reply was sent."""

    def reply_interrupted(self) -> None:
        """A reply that was being heard was cut by people."""

    def reply_failed(self) -> None:
        """A reply ended early, was an apology or was not heard at all: an engine failed."""

    def voice_gaps(self, *, underruns: int, stalls: int) -> None:
        """A reply had gaps: synthesis was slower than speech, or the event loop woke too late."""

    def engine_used(self, engine: str, unit: Unit, amount: float) -> None:
        """Something was used that costs money, as ``OpenAI``, ``tokens``, 1250."""

    def engine_trouble(self, trouble: Trouble) -> None:
        """An engine fails, or works again: once when it begins, and once when it is over."""

    def last_words_awaited(self, limit: float) -> None:
        """The agent leaves, but words of what was said are late; she stays for `limit` seconds
        at most.
        """


class Observers(SessionObserver):
    """Tells several."""

    def __init__(self, *observers: SessionObserver) -> None:
        self._observers = observers

    def turn_committed(self, *, addressed: bool) -> None:
        """To each."""
        for each in self._observers:
            each.turn_committed(addressed=addressed)

    def reply_started(self, metrics: TurnMetrics) -> None:
        """To each."""
        for each in self._observers:
            each.reply_started(metrics)

    def reply_interrupted(self) -> None:
        """To each."""
        for each in self._observers:
            each.reply_interrupted()

    def reply_failed(self) -> None:
        """To each."""
        for each in self._observers:
            each.reply_failed()

    def voice_gaps(self, *, underruns: int, stalls: int) -> None:
        """To each."""
        for each in self._observers:
            each.voice_gaps(underruns=underruns, stalls=stalls)

    def engine_used(self, engine: str, unit: Unit, amount: float) -> None:
        """To each."""
        for each in self._observers:
            each.engine_used(engine, unit, amount)

    def engine_trouble(self, trouble: Trouble) -> None:
        """To each."""
        for each in self._observers:
            each.engine_trouble(trouble)

    def last_words_awaited(self, limit: float) -> None:
        """To each."""
        for each in self._observers:
            each.last_words_awaited(limit)
