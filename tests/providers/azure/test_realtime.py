"""Azure Voice Live, as its service on loopback speaks it."""

from __future__ import annotations

import pytest

from mulisa.core.errors import ProviderUnavailable
from mulisa.core.provider import Message
from mulisa.providers.azure.realtime import AzureVoiceLive
from tests.providers.openai.test_realtime import SPOKEN, ask, running, voice, written

pytestmark = pytest.mark.network


async def test_a_turn_is_heard_and_answered_in_speech() -> None:
    service = voice()
    async with service.serving() as url:
        async with running(AzureVoiceLive(endpoint=url, api_key=service.key)) as session:
            text, samples = await ask(session)
            assert text == "Bob is here." and len(samples) > 12_000
            history = (*SPOKEN.messages, Message("assistant", text))
            await ask(session, SPOKEN.__class__((*history, Message("user", "Hm?", name="Bob"))))
        assert written(service)[4:] == ["Bob: Hm?", "assistant"]
        assert service.invalid == [] and service.connections[-1].errors == []
        state = service.connections[-1].session
        assert state.turn_detection is None
        assert state.voice == {"type": "azure-standard", "name": "en-US-Ava:DragonHDLatestNeural"}
        path, headers = service.handshakes[-1]
        assert path.startswith("/voice-live/realtime?")
        assert "api-version=2025-10-01" in path and "model=gpt-realtime" in path
        assert headers["api-key"] == service.key
        assert "Authorization" not in headers


@pytest.mark.parametrize(
    "endpoint",
    ["https://x.services.ai.azure.com/", "wss://x.services.ai.azure.com/voice-live/realtime"],
)
def test_an_endpoint_is_understood_as_it_is_copied(endpoint: str) -> None:
    engine = AzureVoiceLive("gpt-4o/en-US-AvaNeural", endpoint, "key")
    assert engine._base_url == "https://x.services.ai.azure.com/voice-live"
    assert (
        engine.label
        == "gpt-4o, voice en-US-AvaNeural (Azure Voice Live at x.services.ai.azure.com)"
    )


async def test_a_wrong_key_is_told_with_the_mend() -> None:
    service = voice()
    async with service.serving() as url:
        engine = AzureVoiceLive(endpoint=url, api_key="wrong")
        with pytest.raises(ProviderUnavailable, match="check AZURE_VOICE_LIVE_API_KEY"):
            await engine.load(lambda *_: None)
        await engine.aclose()


@pytest.mark.parametrize(("endpoint", "key"), [("", "key"), ("nonsense", "key"), ("https://x", "")])
async def test_what_is_missing_is_told(endpoint: str, key: str) -> None:
    with pytest.raises(ProviderUnavailable, match="AZURE_VOICE_LIVE_ENDPOINT"):
        await AzureVoiceLive(endpoint=endpoint, api_key=key).load(lambda *_: None)
