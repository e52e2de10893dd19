"""Azure OpenAI: OpenAI's models, and others, in a resource of one's own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

from mulisa.core.errors import ProviderUnavailable
from mulisa.core.provider import Progress
from mulisa.core.secrets import conceal
from mulisa.providers.azure.resource import ENGINE
from mulisa.providers.openai.connection import ANSWER_TIMEOUT, CONNECT_TIMEOUT, Service, connect
from mulisa.providers.openai.llm import RESPONSES, OpenAILLM

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_DEPLOYMENT: Final = re.compile(r"/openai/deployments/([^/]+)")
_API: Final = re.compile(r"/(openai(/.*)?|api/projects/.*)?$")
"""What may follow the resource in the addresses that the portal shows."""
_DATED: Final = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a deployment is, read from whatever address the portal shows."""

    resource: str
    """``https://NAME.openai.azure.com``; empty if there is none."""
    deployment: str
    api_version: str
    """A date; empty for the version 1 API, which needs none."""

    @classmethod
    def of(cls, endpoint: str, deployment: str, api_version: str) -> Place:
        """What the address says itself is less than what is said beside it."""
        url = urlsplit(endpoint.strip())
        if not url.scheme or not url.netloc:
            return cls("", deployment, api_version)
        found = _DEPLOYMENT.search(url.path)
        version = api_version or parse_qs(url.query).get("api-version", [""])[0]
        return cls(
            f"{url.scheme}://{url.netloc}{_API.sub('', url.path)}".rstrip("/"),
            deployment or (found[1] if found else ""),
            version if _DATED.fullmatch(version) else "",
        )


class AzureLLM(OpenAILLM):
    """A deployment of a language model in an Azure OpenAI resource.

    `model` is the name of the deployment, asked by chat completions, or ``responses/NAME``.
    `endpoint` is the resource, or any address that the portal shows for the deployment. With a
    date as `api_version` it is spoken to as until 2025 (``…/openai/deployments/NAME``), otherwise
    by the version 1 API (``…/openai/v1/``).
    """

    def __init__(
        self, model: str = "", endpoint: str = "", api_key: str = "", api_version: str = ""
    ) -> None:
        place = self._place = Place.of(endpoint, model.removeprefix(RESPONSES), api_version)
        interface = RESPONSES if model.startswith(RESPONSES) else ""
        super().__init__(interface + place.deployment, f"{place.resource}/openai/v1/", api_key)
        self._service = Service(
            ENGINE,
            f"Azure OpenAI ({conceal(place.resource)})",
            "AZURE_OPENAI_API_KEY",
            "AZURE_OPENAI_ENDPOINT",
            "--llm azure:DEPLOYMENT",
        )

    async def load(self, progress: Progress) -> None:
        """Connect and check the key. Raises ProviderUnavailable.

        A service that is out of reach now is no error: it may come back before it is needed.
        """
        if not self._place.resource or not self._api_key:
            raise ProviderUnavailable(
                "Azure OpenAI is not configured: set AZURE_OPENAI_ENDPOINT, as in"
                " https://NAME.openai.azure.com, and AZURE_OPENAI_API_KEY"
            )
        if not self._place.deployment:
            raise ProviderUnavailable(
                f"{self._where} does not say which deployments it has: name one,"
                " --llm azure:DEPLOYMENT or AZURE_OPENAI_DEPLOYMENT"
            )
        await super().load(progress)

    async def _choose_model(self) -> None:
        await self._list_models()  # what the resource could deploy, which needs the key

    def _connect(self) -> AsyncOpenAI:
        if not self._place.api_version:
            return connect(self._base_url, self._api_key)
        from openai import AsyncAzureOpenAI, Timeout

        return AsyncAzureOpenAI(
            azure_endpoint=self._place.resource,
            api_version=self._place.api_version,
            api_key=self._api_key,
            max_retries=0,
            timeout=Timeout(ANSWER_TIMEOUT, connect=CONNECT_TIMEOUT),
        )
