"""Speech by a LiveKit plugin, streamed where the plugin can."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

import numpy as np

from mulisa.core.account import check_budget, spend
from mulisa.core.audio import Samples
from mulisa.core.errors import ProviderError
from mulisa.core.provider import Progress
from mulisa.providers.livekit_agents.plugin import Plugin, pieces

TRIAL: Final = "Hello."
"""Said once while it loads, to nobody."""


class LiveKitTTS:
    """A voice of a plugin."""

    def __init__(self, plugin: str = "", language: str = "") -> None:
        """`plugin` is ``NAME``, ``NAME/MODEL`` or ``NAME/MODEL?voice=VOICE&OPTION=VALUE``."""
        self.plugin: Final = Plugin("TTS", plugin, language)

    @property
    def label(self) -> str:
        """Plugin and model."""
        return self.plugin.label

    @property
    def sample_rate_hz(self) -> int:
        """As the plugin says."""
        return int(self.plugin.engine.sample_rate)

    async def load(self, progress: Progress) -> None:
        """Import the plugin, check its key with the beginning of one word.

        Raises ProviderUnavailable, and ConfigError for options that it has not.
        """
        await self.plugin.load(progress, self._try)

    async def synthesize(self, text: str) -> AsyncGenerator[Samples, None]:
        """Speak one clause or sentence.

        Raises ProviderTimeout after 10 s without a further piece, ProviderError.
        """
        plugin = self.plugin
        check_budget()
        rate = self.sample_rate_hz
        spend(plugin.name, "characters", len(text))
        with plugin.translation:
            async with aclosing(pieces(self._begin(text))) as sounds:
                async for sound in sounds:
                    yield _samples(sound.frame, rate)

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        await self.plugin.aclose()

    def _begin(self, text: str) -> Any:
        plugin = self.plugin
        if not plugin.engine.capabilities.streaming:
            return plugin.call(plugin.engine.synthesize, text, conn_options=plugin.options)
        stream = plugin.call(plugin.engine.stream, conn_options=plugin.options)
        stream.push_text(text)
        stream.end_input()
        return stream

    async def _try(self) -> None:
        async with aclosing(self.synthesize(TRIAL)) as sounds:
            async for _ in sounds:
                return


def _samples(frame: Any, rate: int) -> Samples:
    """Mono. Raises ProviderError for a rate that was not announced."""
    if frame.sample_rate != rate:
        raise ProviderError(f"the plugin speaks at {frame.sample_rate} Hz instead of {rate} Hz")
    samples = np.frombuffer(frame.data, dtype="<i2")
    if frame.num_channels > 1:
        samples = samples.reshape(-1, frame.num_channels).mean(axis=1)
    return samples.astype(np.int16)
