"""The Speech SDK itself, over real sockets, against a service that speaks its protocol."""

import asyncio
import logging
import socket
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack

import numpy as np
import pytest

import mulisa.providers.azure.resource as resource
import mulisa.providers.azure.stt as azure_stt
from mulisa.core.account import Account, working_for
from mulisa.core.errors import ProviderError, ProviderTimeout, ProviderUnavailable
from mulisa.core.provider import Transcription
from mulisa.providers.azure.stt import AzureSTT, AzureSTTStream
from tests.network import free_port
from tests.providers.azure.people import hearing, needs_sdk, quiet, say, words
from tests.services.azure_speech import KEY, AzureSpeechService
from tests.services.faults import Fault

pytestmark = [pytest.mark.network, needs_sdk]

LIMIT = 30.0
CUT = Fault("cut", after=2)


@pytest.fixture(autouse=True)
def _no_key_in_logs(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    assert KEY not in caplog.text


async def first_interim(stream: AzureSTTStream) -> str:
    async with asyncio.timeout(LIMIT):
        return await anext(aiter(stream.interims()))


async def text_of(stream: AzureSTTStream) -> str:
    async with asyncio.timeout(LIMIT):
        return (await stream.flush()).text


async def test_what_is_said_is_understood_while_it_is_said() -> None:
    service = AzureSpeechService()
    async with hearing(service, "de") as stt:
        stream = stt.stream(["Mulisa", " Zoë van Dijk ", ""])
        stream.push(say(1, 2))
        assert await first_interim(stream) in (words(1), words(1, 2))
        stream.push(say(3))
        async with asyncio.timeout(LIMIT):
            assert await stream.flush() == Transcription(
                words(1, 2, 3),
                pytest.approx(0.9),  # type: ignore[arg-type]
            )
        await stream.aclose()
    (connection,) = service.connections
    (turn,) = connection.turns
    assert turn.phrases == ["Mulisa", "Zoë van Dijk"]
    assert turn.context["phraseDetection"]["language"] == "de-DE"
    assert turn.context["phraseOutput"]["format"] == "Detailed"
    assert np.array_equal(turn.samples, np.concatenate([say(1, 2), say(3)]))
    audio = connection.config["context"]["audio"]["source"]
    assert (audio["samplerate"], audio["channelcount"]) == ("16000", "1")


async def test_interims_follow_and_end() -> None:
    async with hearing(AzureSpeechService()) as stt:
        stream = stt.stream()
        heard: list[str] = []
        last = asyncio.Event()

        async def read() -> None:
            async for text in stream.interims():
                heard.append(text)
                if text == words(1, 2, 3, 4):
                    last.set()

        async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as tasks:
            tasks.create_task(read())
            stream.push(say(1, 2))
            await stream.flush()
            stream.push(say(3, 4))
            stream.push(quiet(0.5))
            await last.wait()
            await stream.aclose()
    assert heard[-1] == words(1, 2, 3, 4)


async def test_after_a_pause_the_text_goes_on() -> None:
    service = AzureSpeechService()
    async with hearing(service) as stt:
        stream = stt.stream(["Mulisa"])
        said: list[int] = []
        for word in range(4):
            stream.push(say(word, word + 10))
            said += [word, word + 10]
            assert await text_of(stream) == words(*said)
            assert await text_of(stream) == words(*said)
        await stream.aclose()
    assert [connection.seconds for connection in service.connections] == [pytest.approx(0.6)] * 4
    assert all(connection.turns[0].phrases == ["Mulisa"] for connection in service.connections)


async def test_what_is_said_while_the_words_are_awaited() -> None:
    service = AzureSpeechService()
    async with hearing(service) as stt:
        stream = stt.stream()
        stream.push(say(1))
        awaited = asyncio.create_task(text_of(stream))
        await asyncio.sleep(0)
        stream.push(say(2))
        assert await awaited == words(1)
        assert await text_of(stream) == words(1, 2)
        await stream.aclose()


async def test_the_silence_after_speech_is_not_worth_a_connection() -> None:
    service = AzureSpeechService()
    async with hearing(service) as stt:
        stream = stt.stream()
        stream.push(say(1))
        await text_of(stream)
        for _ in range(15):
            stream.push(quiet(0.032))
        await stream.aclose()
        assert len(service.connections) == 1


async def test_nothing_said_asks_nobody() -> None:
    service = AzureSpeechService()
    async with hearing(service) as stt:
        stream = stt.stream()
        stream.push(quiet(0))
        assert await stream.flush() == Transcription("")
        await stream.aclose()
        await stream.aclose()
        stream.push(say(1))
    assert not service.connections


async def test_silence_has_no_words() -> None:
    async with hearing(AzureSpeechService()) as stt:
        stream = stt.stream()
        stream.push(quiet(2))
        assert await text_of(stream) == ""
        await stream.aclose()


async def test_phrases_that_the_service_ends_itself_are_one_text() -> None:
    service = AzureSpeechService()
    async with hearing(service) as stt:
        stream = stt.stream()
        for word in (1, 2, 3):
            stream.push(say(word))
            stream.push(quiet(1))
        assert await text_of(stream) == words(1, 2, 3)
        await stream.aclose()
    assert len(service.connections) == 1


async def test_much_that_was_said_before_there_was_a_connection() -> None:
    async with hearing(AzureSpeechService()) as stt:
        stream = stt.stream()
        numbers = [number % 31 for number in range(100)]
        stream.push(say(*numbers))
        async with asyncio.timeout(10):  # at twice the speed of speech it would be 15 s
            assert (await stream.flush()).text == words(*numbers)
        await stream.aclose()


async def test_several_people_at_once() -> None:
    service = AzureSpeechService()

    async def talk(stt: AzureSTT, person: int) -> None:
        stream = stt.stream([f"Person {person}"])
        stream.push(say(person, person + 1))
        assert await text_of(stream) == words(person, person + 1)
        stream.push(say(person + 2))
        assert await text_of(stream) == words(person, person + 1, person + 2)
        await stream.aclose()

    async with hearing(service) as stt, asyncio.TaskGroup() as tasks:
        for person in range(8):
            tasks.create_task(talk(stt, person))
    assert len(service.connections) == 16


REFUSALS = [
    pytest.param(Fault("status", status=401), "AZURE_SPEECH_KEY", False, id="key"),
    pytest.param(Fault("status", status=403), "AZURE_SPEECH_KEY", False, id="forbidden"),
    pytest.param(Fault("status", status=404), "AZURE_SPEECH_ENDPOINT", False, id="address"),
    pytest.param(Fault("status", status=400), "is en-US a language", False, id="language"),
    pytest.param(Fault("status", status=429), "later", True, id="too many"),
    pytest.param(Fault("status", status=500), "Azure Speech .* failed", True, id="broken"),
    pytest.param(Fault("status", status=503), "Azure Speech", True, id="overloaded"),
    pytest.param(
        Fault("status", after=1, status=1011, message="Quota exceeded"), "tier", False, id="quota"
    ),
    pytest.param(CUT, "network", True, id="cut"),
    pytest.param(Fault("garbage"), "network", True, id="garbage"),
]


@pytest.mark.parametrize(("fault", "said", "retryable"), REFUSALS)
async def test_a_service_that_fails_for_good(fault: Fault, said: str, retryable: bool) -> None:
    service = AzureSpeechService()
    service.faults.always("stt", fault)
    async with hearing(service) as stt:
        stream = stt.stream()
        stream.push(say(1, 2))
        async with asyncio.timeout(LIMIT):
            with pytest.raises(ProviderError, match=said) as caught:
                await stream.flush()
        assert caught.value.retryable is retryable
        assert KEY not in str(caught.value)
        assert len(service.faults.happened) == (4 if retryable else 1)
        await stream.aclose()


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([Fault("cut")], id="cut at once"),
        pytest.param([Fault("cut", after=1)], id="cut"),
        pytest.param([CUT, CUT, CUT], id="three times"),
        pytest.param([Fault("garbage", after=2)], id="garbage"),
        pytest.param([Fault("status", status=503)], id="overloaded"),
        pytest.param([Fault("status", status=429), CUT], id="too many"),
        pytest.param([Fault("status", after=2, status=1011)], id="closed"),
        pytest.param([Fault("latency", delay=0.1)], id="slow"),
    ],
)
async def test_no_word_is_lost_when_a_recogniser_is(faults: list[Fault]) -> None:
    service = AzureSpeechService()
    service.faults.next("stt", *faults)
    async with hearing(service) as stt:
        stream = stt.stream(["Mulisa"])
        stream.push(say(1, 2))
        stream.push(say(3, 4))
        assert await text_of(stream) == words(1, 2, 3, 4)
        await stream.aclose()
    assert len(service.faults.happened) == len(faults)
    assert service.connections[-1].turns[0].phrases == ["Mulisa"]


async def test_a_recogniser_is_replaced_while_somebody_speaks() -> None:
    service = AzureSpeechService()
    service.faults.next("stt", CUT)
    async with hearing(service) as stt:
        stream = stt.stream()
        async with asyncio.timeout(LIMIT):
            while len(service.connections) < 2:
                stream.push(say(5))
                await asyncio.sleep(0.05)
        stream.push(say(6))
        heard = (await text_of(stream)).removesuffix(words(6)).split()
        assert set(heard) == {"word", "5"}
        assert service.connections[1].seconds > service.connections[0].seconds
        await stream.aclose()


async def test_what_was_understood_is_not_sent_again() -> None:
    service = AzureSpeechService(interim=1.45)
    # The turn's and the speech's start, a hypothesis and the first phrase; nothing after them.
    service.faults.next("stt", Fault("cut", after=4))
    async with hearing(service) as stt:
        stream = stt.stream()
        stream.push(np.concatenate([say(1, 2, 3), quiet(1), say(4, 5)]))
        assert await text_of(stream) == words(1, 2, 3, 4, 5)
        await stream.aclose()
    first, second = service.connections
    assert first.seconds == pytest.approx(2.5)
    assert 0.6 <= second.seconds <= 1.1


async def test_a_silent_service_and_then_one_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(azure_stt, "FINAL_TIMEOUT", 0.5)
    service = AzureSpeechService()
    service.faults.next("stt", Fault("silence", after=2))
    async with hearing(service) as stt:
        stream = stt.stream()
        stream.push(say(1, 2))
        async with asyncio.timeout(LIMIT):
            with pytest.raises(ProviderTimeout):
                await stream.flush()
        stream.push(say(3))
        assert await text_of(stream) == words(1, 2, 3)
        await stream.aclose()


async def test_a_service_that_accepts_and_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(azure_stt, "FINAL_TIMEOUT", 0.3)
    monkeypatch.setattr(resource, "ANSWER_TIMEOUT", 0.3)
    async with AsyncExitStack() as stack, asyncio.timeout(LIMIT):
        deaf = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        stt = AzureSTT(endpoint=f"http://127.0.0.1:{deaf.getsockname()[1]}", api_key=KEY)
        await stt.load(lambda *_: None)
        stream = stt.stream()
        stream.push(say(1))
        with pytest.raises(ProviderTimeout):
            await stream.flush()
        await stream.aclose()


async def test_audio_is_kept_until_the_service_is_back() -> None:
    service = AzureSpeechService()
    service.faults.always("stt", Fault("status", status=503))
    async with hearing(service) as stt:
        stream = stt.stream()
        stream.push(say(1, 2))
        async with asyncio.timeout(LIMIT):
            with pytest.raises(ProviderError):
                await stream.flush()
        stream.push(say(3, 4))
        service.faults.always("stt", None)
        assert await text_of(stream) == words(1, 2, 3, 4)
        await stream.aclose()


async def test_the_host_is_gone() -> None:
    stt = AzureSTT(endpoint=f"http://127.0.0.1:{free_port()}", api_key=KEY)
    await stt.load(lambda *_: None)
    stream = stt.stream()
    stream.push(say(1))
    async with asyncio.timeout(LIMIT):
        with pytest.raises(ProviderUnavailable, match="AZURE_SPEECH_ENDPOINT") as caught:
            await stream.flush()
    assert caught.value.retryable
    await stream.aclose()


HEADER = "X-RequestId:REQUEST\r\nContent-Type:application/json\r\nPath:"
GARBAGE = {
    "no frame": b"\xff\xff\xff\xff\xff\xff",
    "a huge frame": b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff",
    "no header": "total nonsense",
    "nothing": "",
    "only a path": "Path:speech.phrase\r\n\r\n",
    "no JSON": f"{HEADER}speech.phrase\r\n\r\n{{nonsense",
    "a list": f"{HEADER}speech.phrase\r\n\r\n[1, 2]",
    "wrong types": f'{HEADER}speech.phrase\r\n\r\n{{"RecognitionStatus": 7, "Offset": "x"}}',
    "an error": f'{HEADER}speech.phrase\r\n\r\n{{"RecognitionStatus": "Error"}}',
    "an early end": f"{HEADER}turn.end\r\n\r\n{{}}",
    "an unknown path": f"{HEADER}speech.magic\r\n\r\n{{}}",
    "deep": f"{HEADER}speech.hypothesis\r\n\r\n{'[' * 10_000}",
    "odd confidences": f'{HEADER}speech.phrase\r\n\r\n{{"RecognitionStatus": "Success",'
    '"DisplayText": "", "Offset": 0, "Duration": 0, "NBest": [{"Confidence": "high"}]}',
    "impossible times": f'{HEADER}speech.phrase\r\n\r\n{{"RecognitionStatus": "Success",'
    '"DisplayText": "", "Offset": 9000000000000, "Duration": -9000000000000}',
    "another's turn": f"{HEADER}turn.end\r\n\r\n{{}}".replace("REQUEST", "0" * 32),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_neither_hangs_nor_crashes(
    garbage: str | bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azure_stt, "FINAL_TIMEOUT", 1.0)
    service = AzureSpeechService()
    service.garbage = garbage
    service.faults.next("stt", Fault("garbage", after=3))
    async with hearing(service) as stt:
        stream = stt.stream()
        stream.push(say(1, 2))
        async with asyncio.timeout(LIMIT):
            try:
                result = await stream.flush()
            except ProviderError as error:
                assert error.retryable
                result = await stream.flush()
        assert result.text in (words(1, 2), words(1, 2, 1, 2))
        assert 0 <= result.confidence <= 1
        await stream.aclose()


async def test_closing_does_not_wait_for_a_silent_service() -> None:
    service = AzureSpeechService()
    service.faults.always("stt", Fault("silence", after=1))
    async with hearing(service) as stt:
        stream = stt.stream()
        stream.push(say(1, 2))
        async with asyncio.timeout(5):  # the SDK by itself: 10 s
            await service.connected.wait()
            flush = asyncio.create_task(stream.flush())
            await asyncio.sleep(0)
            await stream.aclose()
            with pytest.raises(ProviderError, match="closed"):
                await flush
            await service.connections[0].closed.wait()


async def test_a_flush_that_is_given_up_costs_nothing() -> None:
    service = AzureSpeechService()
    async with hearing(service) as stt:
        stream = stt.stream()
        stream.push(say(1))
        flush = asyncio.create_task(stream.flush())
        await asyncio.sleep(0)
        flush.cancel()
        with pytest.raises(asyncio.CancelledError):
            await flush
        stream.push(say(2))
        assert await text_of(stream) == words(1, 2)
        await stream.aclose()
    assert len(service.connections) == 2


async def test_closing_the_engine_leaves_open_utterances_alone() -> None:
    async with hearing(AzureSpeechService()) as stt:
        stream = stt.stream()
        stream.push(say(1))
        await stt.aclose()
        with pytest.raises(ProviderUnavailable, match="not loaded"):
            stt.stream()
        assert await text_of(stream) == words(1)
        await stream.aclose()


async def test_seconds_are_counted_and_the_budget_ends_it() -> None:
    used: list[tuple[str, str, float]] = []
    account = Account({"seconds": 0.5}, lambda *spent: used.append(spent))
    service = AzureSpeechService()
    async with hearing(service) as stt:
        with working_for(account):
            stream = stt.stream()
            stream.push(say(1, 2))
            assert await text_of(stream) == words(1, 2)
            await stream.aclose()
            ((*what, seconds),) = used
            assert what == ["Azure", "seconds"]
            assert seconds == pytest.approx(0.6)
            stream = stt.stream()
            stream.push(say(3))
            with pytest.raises(ProviderUnavailable, match="--budget"):
                await stream.flush()
            await stream.aclose()
    assert len(service.connections) == 1


async def test_who_is_refused_spends_nothing() -> None:
    account = Account()
    service = AzureSpeechService()
    service.faults.always("stt", Fault("status", status=401))
    async with hearing(service) as stt:
        with working_for(account):
            stream = stt.stream()
            stream.push(say(1, 2))
            with pytest.raises(ProviderUnavailable):
                await stream.flush()
            await stream.aclose()
    assert account.spent["seconds"] == 0


async def test_a_wrong_key_is_found_while_loading() -> None:
    async with AzureSpeechService().serving() as url:
        stt = AzureSTT(endpoint=url, api_key="another-key")
        with pytest.raises(ProviderUnavailable, match="AZURE_SPEECH_KEY") as caught:
            await stt.load(lambda *_: None)
    assert not caught.value.retryable
    assert "another-key" not in str(caught.value)


async def test_without_the_package_the_message_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "azure.cognitiveservices.speech", None)
    with pytest.raises(ProviderUnavailable, match=r"pip install 'mulisa\[azure\]'"):
        await AzureSTT(region="westeurope", api_key=KEY).load(lambda *_: None)


LEAVING = """
import asyncio, sys
import numpy as np
from mulisa.providers.azure.stt import AzureSTT

async def main():
    stt = AzureSTT(endpoint=sys.argv[1], api_key=sys.argv[2])
    await stt.load(lambda *_: None)
    stream = stt.stream()
    stream.push(np.ones(16_000, np.int16))
    await anext(aiter(stream.interims()))
    print("heard", flush=True)

asyncio.run(main())
"""


async def test_the_interpreter_ends_with_an_utterance_open() -> None:
    service = AzureSpeechService(interim=0.01)

    async def chatter(_: np.ndarray) -> str:
        return "and so on"

    service.hear = chatter
    async with service.serving() as url:
        python = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", LEAVING, url, KEY),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(LIMIT):
            stdout, stderr = await python.communicate()
    assert (python.returncode, stdout, stderr) == (0, b"heard\n", b"")
