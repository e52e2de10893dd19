"""What the tests of Azure's engines share: tones as words, and when they can run."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, distribution

import numpy as np
import pytest

from mulisa.core.audio import HEARING_RATE_HZ, Samples, silence
from mulisa.providers.azure.stt import AzureSTT
from mulisa.providers.tones import tone
from tests.services.azure_speech import KEY, AzureSpeechService


def _is_installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True


needs_sdk = pytest.mark.skipif(
    not _is_installed("azure-cognitiveservices-speech"), reason="pip install 'mulisa[azure]'"
)


def quiet(seconds: float) -> Samples:
    return silence(round(seconds * HEARING_RATE_HZ))


def say(*words: int) -> Samples:
    """Each word 0.2 s, and a pause of 0.1 s."""
    return np.concatenate(
        [part for word in words for part in (tone(word, 0.2, HEARING_RATE_HZ), quiet(0.1))]
    )


def words(*numbers: int) -> str:
    """What the service understands of `say`."""
    return " ".join(f"word {number}" for number in numbers)


@asynccontextmanager
async def hearing(service: AzureSpeechService, language: str = "") -> AsyncIterator[AzureSTT]:
    async with service.serving() as url:
        stt = AzureSTT(endpoint=url, api_key=KEY, language=language)
        await stt.load(lambda *_: None)
        yield stt
        await stt.aclose()
