import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rapidfuzz.distance import Levenshtein

import mulisa.providers.whisper_model as whisper_model
from mulisa.core.audio import Samples
from mulisa.core.errors import ProviderUnavailable
from mulisa.core.provider import Transcription
from mulisa.providers.piper import PiperTTS
from mulisa.providers.plausible import spoken_words
from mulisa.providers.whisper import WhisperSTT
from tests.providers.speech import (
    SENTENCES,
    needs_local,
    noise,
    speech,
    spoken_by_piper,
    to_hearing,
)

pytestmark = [pytest.mark.provider("whisper"), needs_local]

PHRASE = "We should move the meeting to Thursday."


async def loaded() -> WhisperSTT:
    stt = WhisperSTT()
    await stt.load(lambda *_: None)
    return stt


async def hear(stt: WhisperSTT, samples: Samples) -> Transcription:
    stream = stt.stream()
    stream.push(samples)
    result = await stream.flush()
    await stream.aclose()
    return result


def word_error_rate(said: Sequence[str], heard: Sequence[str]) -> float:
    pairs = [(spoken_words(a), spoken_words(b)) for a, b in zip(said, heard, strict=True)]
    return sum(Levenshtein.distance(a, b) for a, b in pairs) / sum(len(a) for a, _ in pairs)


async def test_it_understands_what_piper_says() -> None:
    stt = await loaded()
    heard = [await hear(stt, samples) for samples in spoken_by_piper()]
    assert word_error_rate(SENTENCES, [result.text for result in heard]) < 0.1
    assert min(result.confidence for result in heard) > 0.4
    await stt.aclose()


async def test_it_understands_our_own_voice() -> None:
    stt, tts = await loaded(), PiperTTS()
    await tts.load(lambda *_: None)
    heard = []
    for sentence in SENTENCES:
        pieces = [piece async for piece in tts.synthesize(sentence)]
        heard.append((await hear(stt, to_hearing(np.concatenate(pieces), 22_050))).text)
    assert word_error_rate(SENTENCES, heard) < 0.25
    await tts.aclose()
    await stt.aclose()


@pytest.mark.parametrize(
    "nothing",
    [
        pytest.param(np.zeros(0, np.int16), id="nothing"),
        pytest.param(np.zeros(100, np.int16), id="a moment"),
        pytest.param(np.zeros(32_000, np.int16), id="silence"),
        pytest.param(noise(2, 0.0008), id="a quiet room"),
        pytest.param(noise(1, 0.02, colour=1), id="pink"),
        pytest.param(noise(2, 0.3), id="loud white"),
        pytest.param(noise(3, 0.3, colour=1), id="loud pink"),
        pytest.param(noise(3, 0.3, colour=2), id="rumble"),
        pytest.param(np.tile(noise(0.2, 0.3, colour=1), 8), id="knocking"),
    ],
)
async def test_where_nobody_speaks_there_are_no_words(nothing: Samples) -> None:
    stt = await loaded()
    assert (await hear(stt, nothing)).text == ""
    await stt.aclose()


async def test_a_flush_covers_everything_since_the_beginning() -> None:
    stt = await loaded()
    stream = stt.stream(["Mulisa", "Alice"])
    assert (await stream.flush()).text == ""
    stream.push(speech("Can you hear me?"))
    first = await stream.flush()
    assert spoken_words(first.text) == ["can", "you", "hear", "me"]
    assert await stream.flush() is first
    for start in range(0, 48_000, 320):
        stream.push(speech(PHRASE)[start : start + 320])
    assert spoken_words((await stream.flush()).text)[-1] == "thursday"
    assert spoken_words((await stream.flush()).text)[:4] == ["can", "you", "hear", "me"]
    await stream.aclose()
    await stream.aclose()
    await stt.aclose()


async def test_after_a_text_that_ends_too_early_it_reads_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The decoder does so by itself with one pair of sentences in 50, another one on each CPU."""
    decode = whisper_model.WhisperModel._decode

    def first_sentence(
        self: whisper_model.WhisperModel, *args: Any, **kwargs: Any
    ) -> whisper_model._Decoded:
        decoded = decode(self, *args, **kwargs)
        ends = decoded.text.index(".") + 1 if "." in decoded.text else len(decoded.text)
        tokens = list(decoded.tokens)
        while len(self._tokenizer.decode(tokens).strip()) > ends:
            tokens.pop()
        return replace(decoded, text=decoded.text[:ends], tokens=tokens)

    monkeypatch.setattr(whisper_model.WhisperModel, "_decode", first_sentence)
    stt = await loaded()
    question, pause = "Can you hear me?", np.zeros(4_800, np.int16)
    both = np.concatenate((speech(PHRASE), pause, speech(PHRASE), pause, speech(question)))
    heard = await hear(stt, both)
    assert spoken_words(heard.text) == spoken_words(f"{PHRASE} {PHRASE} {question}")
    for sound in (noise(2, 0.1, colour=1), np.tile(noise(0.2, 0.3, colour=1), 8)):
        once = await hear(stt, np.concatenate((speech(PHRASE), pause, sound)))
        assert spoken_words(once.text) == spoken_words(PHRASE), "no words where there is noise"
    await stt.aclose()


async def test_a_model_that_cannot_tell_where_its_text_ends_has_said_it() -> None:
    stt = await loaded()
    assert stt._model is not None

    class Unaligned:
        """The model, but for its alignment."""

        def __init__(self, model: Any) -> None:
            self._model = model

        def __getattr__(self, name: str) -> Any:
            return getattr(self._model, name)

        def align(self, *_: Any) -> Any:
            raise RuntimeError("no alignment heads")

    stt._model._whisper.model = Unaligned(stt._model._whisper.model)
    assert spoken_words((await hear(stt, speech(PHRASE))).text) == spoken_words(PHRASE)
    await stt.aclose()


async def test_a_minute_without_a_flush_is_heard_in_pieces() -> None:
    stt = await loaded()
    stream = stt.stream()
    pause = np.zeros(8_000, np.int16)
    for samples in [*spoken_by_piper(), *spoken_by_piper()]:
        stream.push(np.concatenate((samples, pause)))
    text = (await stream.flush()).text
    assert word_error_rate([" ".join(SENTENCES * 2)], [text]) < 0.1
    await stream.aclose()
    await stt.aclose()


async def test_interims_grow_and_end() -> None:
    stt = await loaded()
    stream = stt.stream()
    shown: list[str] = []
    first = asyncio.Event()

    async def read() -> None:
        async for text in stream.interims():
            shown.append(text)
            first.set()

    reader = asyncio.create_task(read())
    stream.push(speech(PHRASE))
    async with asyncio.timeout(20):
        await first.wait()
        first.clear()
        stream.push(speech("The release is in two weeks and the tests are green."))
        await first.wait()
    await stream.aclose()
    await reader
    assert spoken_words(shown[0])[-1] == "thursday"
    assert len(shown[-1]) > len(shown[0])
    await stt.aclose()


async def test_many_people_at_once() -> None:
    stt = await loaded()
    heard = await asyncio.gather(*(hear(stt, samples) for samples in spoken_by_piper()))
    assert word_error_rate(SENTENCES, [result.text for result in heard]) < 0.1
    await stt.aclose()


async def test_a_cancelled_flush_can_be_repeated() -> None:
    stt = await loaded()
    stream = stt.stream()
    stream.push(speech(PHRASE))
    for _ in range(3):
        flush = asyncio.create_task(stream.flush())
        await asyncio.sleep(0.01)
        flush.cancel()
        with pytest.raises(asyncio.CancelledError):
            await flush
    assert spoken_words((await stream.flush()).text)[-1] == "thursday"
    await stream.aclose()
    await stt.aclose()


async def test_closing_in_the_middle() -> None:
    stt = await loaded()
    streams = [stt.stream() for _ in range(3)]
    for stream in streams:
        stream.push(speech(PHRASE))
    flushes = [asyncio.create_task(stream.flush()) for stream in streams]
    await asyncio.sleep(0)
    await stt.aclose()
    await stt.aclose()
    results = await asyncio.gather(*flushes, return_exceptions=True)
    assert sum(isinstance(result, ProviderUnavailable) for result in results) >= 2
    with pytest.raises(ProviderUnavailable):
        stt.stream()
    for stream in streams:
        await stream.aclose()


async def test_models_that_are_not_there(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path_factory.mktemp("no-model")
    with pytest.raises(ProviderUnavailable, match=r"tiny\.en"):
        await WhisperSTT(str(empty)).load(lambda *_: None)
    with pytest.raises(ProviderUnavailable, match="does not understand 'de'"):
        await WhisperSTT(language="de").load(lambda *_: None)
    monkeypatch.setattr(whisper_model, "BUNDLED_SHA256", "0" * 64)
    with pytest.raises(ProviderUnavailable, match="sha256"):
        await WhisperSTT().load(lambda *_: None)
