"""What happens between naming a plugin and its first word."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from mulisa.core.errors import ConfigError, ProviderError, ProviderUnavailable
from mulisa.providers.livekit_agents import LiveKitLLM, LiveKitSTT, LiveKitTTS
from tests.providers.livekit_agents.conftest import KEY, Loaded

pytestmark = pytest.mark.unit


async def test_it_is_told_what_is_imported_and_asked(fake: Any) -> None:
    said: list[str] = []
    stt = LiveKitSTT("fake/big", language="de")
    assert stt.label == "fake big (LiveKit plugin)"
    await stt.load(lambda doing, _: said.append(doing))
    assert said == ["importing LiveKit's plugin fake", "asking fake"]
    await stt.aclose()


async def test_its_own_model_is_shown_once_it_is_known(fake: Any, loaded: Loaded) -> None:
    assert LiveKitSTT("fake").label == "fake (LiveKit plugin)"
    async with loaded(LiveKitSTT, "fake") as stt:
        assert stt.label == "fake ears (LiveKit plugin)"


async def test_the_constructor_gets_what_it_names(fake: Any, loaded: Loaded) -> None:
    text = "fake/big?threshold=0.5&keyterm=Mulisa&mode=good&terms=a&extra=%7B%22a%22:1%7D"
    async with loaded(LiveKitSTT, text, language="de-AT"):
        given = fake.made[-1].given
    assert given["model"] == "big" and given["language"] == "de-AT"
    assert given["threshold"] == 0.5 and given["keyterm"] == "Mulisa"
    assert given["terms"] == ["a"] and given["extra"] == {"a": 1} and given["mode"] == "good"


async def test_a_voice_where_there_is_no_model(fake: Any, loaded: Loaded) -> None:
    async with loaded(LiveKitTTS, "fake/otto", language="de"):
        assert fake.made[-1].voice == "otto"


async def test_another_class_of_the_plugin(fake: Any, loaded: Loaded) -> None:
    class Other(fake.STT):  # type: ignore[misc]
        pass

    setattr(fake, "STTv2", Other)  # noqa: B010
    async with loaded(LiveKitSTT, "fake.STTv2/x"):
        assert isinstance(fake.made[-1], Other)
    for name in ("fake.Nothing", "fake.STTv2.x", "fake.made", "fake.TTS"):
        with pytest.raises(ConfigError, match="has no STT engine"):
            await LiveKitSTT(name).load(lambda *_: None)


async def test_unknown_options(fake: Any) -> None:
    with pytest.raises(ConfigError, match="no option 'volume'.*threshold"):
        await LiveKitSTT("fake?volume=1").load(lambda *_: None)
    with pytest.raises(ConfigError, match="option mode is wrong"):
        await LiveKitSTT("fake?mode=bad").load(lambda *_: None)


@pytest.mark.parametrize("kind", [LiveKitSTT, LiveKitLLM, LiveKitTTS])
async def test_a_missing_key_is_named_by_the_plugin(
    kind: Any, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FAKE_API_KEY")
    with pytest.raises(ProviderUnavailable, match="; set FAKE_API_KEY"):
        await kind("fake").load(lambda *_: None)


async def test_it_has_an_http_session_until_it_is_closed(fake: Any) -> None:
    stt = LiveKitSTT("fake")
    await stt.load(lambda *_: None)
    engine = fake.made[-1]
    assert not engine.session.closed
    await stt.aclose()
    assert engine.session.closed and engine.closed == 1
    await stt.aclose()
    assert engine.closed == 1


async def test_it_can_be_loaded_again(fake: Any, loaded: Loaded) -> None:
    async with loaded(LiveKitSTT, "fake") as stt:
        await stt.load(lambda *_: None)
        first, second = fake.made
        assert first.closed == 1 and first.session.closed and not second.session.closed


async def test_one_that_fails_to_close(fake: Any, caplog: pytest.LogCaptureFixture) -> None:
    stt = LiveKitSTT("fake")
    await stt.load(lambda *_: None)
    engine = fake.made[-1]

    async def fail() -> None:
        raise OSError("no")

    stt.plugin._stack.push_async_callback(fail)  # type: ignore[union-attr]
    await stt.aclose()
    assert engine.session.closed
    assert "fake did not close: no" in caplog.text


async def test_what_was_not_loaded(fake: Any) -> None:
    with pytest.raises(ProviderUnavailable, match="not loaded"):
        LiveKitSTT("fake").stream()
    with pytest.raises(ProviderUnavailable, match="not loaded"):
        _ = LiveKitTTS("fake").sample_rate_hz


REFUSED = {401: "FAKE_API_KEY", 403: "FAKE_API_KEY", 402: "billing", 404: "no such model"}


def failing(error: Exception) -> Any:
    async def fail(*_: Any) -> None:
        raise error

    return fail


@pytest.mark.parametrize("kind", [LiveKitSTT, LiveKitLLM, LiveKitTTS])
@pytest.mark.parametrize("status", REFUSED)
async def test_a_refusal_is_found_while_it_loads(
    kind: Any, status: int, fake: Any, loaded: Loaded
) -> None:
    from livekit.agents import APIStatusError

    said = APIStatusError(f"no, {KEY}!", status_code=status, body={"message": f"{KEY}, no"})
    fake.hear = fake.speak = fake.think = failing(said)
    with pytest.raises(ProviderUnavailable, match=REFUSED[status]) as caught:
        async with loaded(kind, "fake"):
            pass
    assert not caught.value.retryable
    assert KEY not in str(caught.value) and "[secret], no" in str(caught.value)


@pytest.mark.parametrize("kind", [LiveKitSTT, LiveKitLLM, LiveKitTTS])
async def test_what_is_out_of_reach_now_is_a_warning(
    kind: Any, fake: Any, loaded: Loaded, caplog: pytest.LogCaptureFixture
) -> None:
    from livekit.agents import APIConnectionError

    fake.hear = fake.speak = fake.think = failing(APIConnectionError("no route"))
    with caplog.at_level(logging.WARNING):
        async with loaded(kind, "fake"):
            assert "cannot reach fake: no route" in caplog.text


@pytest.mark.parametrize("kind", [LiveKitSTT, LiveKitLLM, LiveKitTTS])
async def test_one_that_is_silent_is_a_warning(
    kind: Any, fake: Any, loaded: Loaded, caplog: pytest.LogCaptureFixture
) -> None:
    import asyncio

    async def wait(*_: Any) -> None:
        await asyncio.Event().wait()

    fake.hear = fake.speak = fake.think = wait
    async with loaded(kind, "fake"):
        assert "fake does not answer in time" in caplog.text


@pytest.mark.parametrize(
    ("status", "message", "words", "retryable"),
    [
        (429, "slow down", "later", True),
        (429, "you exceeded your current quota", "billing", False),
        (500, "oops", "answered 500: oops", True),
        (503, "", "answered 503", True),
        (400, "bad model", "answered 400: bad model", False),
        (408, "slow", "answered 408", True),
        (1011, "went away", "hung up: went away", True),
        (-1, "went away", "hung up: went away", True),
    ],
)
async def test_refusals(
    status: int, message: str, words: str, retryable: bool, fake: Any, loaded: Loaded
) -> None:
    from livekit.agents import APIStatusError

    async with loaded(LiveKitTTS, "fake") as tts:
        fake.speak = failing(APIStatusError(message, status_code=status))
        with pytest.raises(ProviderError, match=words) as caught:
            async for _ in tts.synthesize("hello"):
                pass
    assert caught.value.retryable is retryable


def handshake(status: int) -> Exception:
    """Refused before there was a WebSocket, at an address that has the key in it."""
    url = URL(f"wss://fake.example/listen?api_key={KEY}")
    asked = aiohttp.RequestInfo(url, "GET", CIMultiDictProxy(CIMultiDict()), url)
    return aiohttp.WSServerHandshakeError(asked, (), status=status, message="no")


@pytest.mark.parametrize("kind", [LiveKitSTT, LiveKitTTS])
@pytest.mark.parametrize("hidden", [False, True])
async def test_a_refusal_that_the_plugin_did_not_understand(
    kind: Any, hidden: bool, fake: Any, loaded: Loaded
) -> None:
    from livekit.agents import APIConnectionError

    async def fail(*_: Any) -> None:
        if hidden:
            raise APIConnectionError("could not connect") from handshake(401)
        raise handshake(401)

    fake.hear = fake.speak = fail
    with pytest.raises(ProviderUnavailable, match="refuses the key: no; .*FAKE_API_KEY") as caught:
        async with loaded(kind, "fake"):
            pass
    assert not caught.value.retryable and "api_key=" not in str(caught.value)


async def test_any_other_failure(fake: Any, loaded: Loaded) -> None:
    async with loaded(LiveKitTTS, "fake") as tts:
        fake.speak = failing(KeyError("audio"))
        with pytest.raises(ProviderError, match="fake failed: KeyError"):
            async for _ in tts.synthesize("hello"):
                pass


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import nobody_has_this", "needs a package; pip install nobody_has_this"),
        ("raise RuntimeError('too old')", "cannot be imported: too old"),
    ],
)
async def test_one_that_cannot_be_imported(
    source: str, words: str, plugins: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "livekit/plugins/broken"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ProviderUnavailable, match=words):
        await LiveKitSTT("broken").load(lambda *_: None)
