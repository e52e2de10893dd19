import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.core.errors import ProviderUnavailable
from mulisa.providers.azure.llm import Place
from mulisa.providers.azure.resource import SpeechResource, to_locale

pytestmark = pytest.mark.unit

KEY = "canary-0123456789"


@pytest.mark.parametrize(
    ("language", "locale"),
    [("", "en-US"), ("en", "en-US"), ("de", "de-DE"), ("pt-PT", "pt-PT"), ("zh", "zh-CN")],
)
def test_languages(language: str, locale: str) -> None:
    assert to_locale(language) == locale


@pytest.mark.parametrize("language", ["klingon!", "d", "de_DE", "de-DE\r\nX: y", "'"])
def test_what_is_no_language(language: str) -> None:
    with pytest.raises(ProviderUnavailable, match="no language"):
        to_locale(language)


@pytest.mark.parametrize(
    ("region", "token", "synthesis"),
    [
        (
            "West Europe",
            "https://westeurope.api.cognitive.microsoft.com/sts/v1.0/issueToken",
            "https://westeurope.tts.speech.microsoft.com/cognitiveservices/v1",
        ),
        (
            "chinaeast2",
            "https://chinaeast2.api.cognitive.azure.cn/sts/v1.0/issueToken",
            "https://chinaeast2.tts.speech.azure.cn/cognitiveservices/v1",
        ),
        (
            "usgovvirginia",
            "https://usgovvirginia.api.cognitive.microsoft.us/sts/v1.0/issueToken",
            "https://usgovvirginia.tts.speech.azure.us/cognitiveservices/v1",
        ),
    ],
)
def test_regions(region: str, token: str, synthesis: str) -> None:
    resource = SpeechResource.of(region, "", KEY)
    resource.check_settings()
    assert (resource.token_url, resource.synthesis_url) == (token, synthesis)


def test_the_regional_endpoint_of_the_portal_is_its_region() -> None:
    resource = SpeechResource.of("", "https://eastus.api.cognitive.microsoft.com/", KEY)
    assert resource == SpeechResource.of("eastus", "", KEY)


def test_an_endpoint_of_ones_own() -> None:
    resource = SpeechResource.of("eastus", "https://ours.cognitiveservices.azure.com/", KEY)
    resource.check_settings()
    assert resource.token_url == "https://ours.cognitiveservices.azure.com/sts/v1.0/issueToken"
    root = "https://ours.cognitiveservices.azure.com/tts/cognitiveservices"
    assert (resource.synthesis_url, resource.voices_url) == (f"{root}/v1", f"{root}/voices/list")
    assert resource.setting == "AZURE_SPEECH_ENDPOINT"


@pytest.mark.parametrize(
    ("region", "endpoint", "key", "mend"),
    [
        ("", "", "", "AZURE_SPEECH_KEY and AZURE_SPEECH_REGION"),
        ("", "", KEY, "AZURE_SPEECH_REGION"),
        ("westeurope", "", "", "AZURE_SPEECH_KEY"),
        ("evil.example/?", "", KEY, "AZURE_SPEECH_REGION"),
        ("", "ours.cognitiveservices.azure.com", KEY, "AZURE_SPEECH_ENDPOINT"),
        ("westeurope", "", f"{KEY}\r\nX-Evil: 1", "AZURE_SPEECH_KEY"),
        ("westeurope", "", f"{KEY}\N{EM DASH}", "AZURE_SPEECH_KEY"),
    ],
)
def test_settings_that_cannot_be_right(region: str, endpoint: str, key: str, mend: str) -> None:
    with pytest.raises(ProviderUnavailable, match=mend) as caught:
        SpeechResource.of(region, endpoint, key).check_settings()
    assert KEY not in str(caught.value)


def test_a_container_of_ones_own_needs_no_key() -> None:
    SpeechResource.of("", "http://localhost:5000", "").check_settings()


@given(status=st.integers(100, 599), said=st.text(), retry_after=st.none() | st.text())
def test_a_refusal_never_shows_the_key(status: int, said: str, retry_after: str | None) -> None:
    resource = SpeechResource.of("westeurope", "", KEY)
    error = resource.refusal(status, f"{said} {KEY}", retry_after)
    assert KEY not in f"{error} {resource!r}"
    assert "\n" not in str(error)


def test_how_long_a_service_wants_to_be_left_alone() -> None:
    resource = SpeechResource.of("westeurope", "", KEY)
    assert resource.refusal(429, "", "7").retry_after == 7.0
    for said in (None, "", "-1", "inf", "Mon, 01 Jan 2029 00:00:00 GMT"):
        assert resource.refusal(429, "", said).retry_after is None


OURS = "https://ours.openai.azure.com"


@pytest.mark.parametrize(
    ("endpoint", "place"),
    [
        (OURS, Place(OURS, "", "")),
        (f"{OURS}/", Place(OURS, "", "")),
        (f"{OURS}/openai/v1/", Place(OURS, "", "")),
        (
            f"{OURS}/openai/deployments/gpt/chat/completions?api-version=2024-10-21",
            Place(OURS, "gpt", "2024-10-21"),
        ),
        (
            "https://ours.services.ai.azure.com/api/projects/first",
            Place("https://ours.services.ai.azure.com", "", ""),
        ),
        ("https://gate.example/azure/openai/v1", Place("https://gate.example/azure", "", "")),
        ("ours.openai.azure.com", Place("", "", "")),
        ("", Place("", "", "")),
    ],
)
def test_where_a_deployment_is(endpoint: str, place: Place) -> None:
    assert Place.of(endpoint, "", "") == place


def test_what_is_said_beside_the_address_comes_first() -> None:
    address = f"{OURS}/openai/deployments/old/chat/completions?api-version=2024-02-01"
    assert Place.of(address, "new", "2024-10-21") == Place(OURS, "new", "2024-10-21")
    assert Place.of(address, "new", "v1").api_version == ""
