"""A server, a room of it, and clients of both SDKs.

Every test that takes `server` runs at our embedded SFU (`[sfu]`, in ``make test``) and at a real
LiveKit server (`[livekit]`, in ``make slow``). What takes `join` runs with the Python SDK, and in
``make slow`` with livekit-client in Chromium too; what is marked `BOTH_SDKS` always with both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from playwright.async_api import Page

from tests.conformance.browser_client import BrowserClient, page_for_clients
from tests.conformance.clients import Client
from tests.conformance.python_client import PythonClient
from tests.livekit_server import LiveKitServer
from tests.sfu_server import EmbeddedServer, SfuServer

SFUS = ("sfu", pytest.param("livekit", marks=pytest.mark.slow))
SDKS = ("python", pytest.param("browser", marks=pytest.mark.slow))
BOTH_SDKS = pytest.mark.parametrize("sdk", ["python", "browser"])

_numbers = count(1)


@pytest.fixture(scope="session", params=SFUS)
def kind(request: pytest.FixtureRequest) -> str:
    """Which SFU: ``sfu`` (ours) or ``livekit``."""
    found: str = request.param
    return found


@pytest.fixture(scope="session")
def server(kind: str, request: pytest.FixtureRequest) -> Iterator[SfuServer]:
    """One that no test stops or configures."""
    if kind == "livekit":
        yield request.getfixturevalue("livekit")
        return
    with EmbeddedServer() as embedded:
        yield embedded


ServerFactory = Callable[..., SfuServer]


@pytest.fixture
def own_server(kind: str, request: pytest.FixtureRequest) -> Iterator[ServerFactory]:
    """Starts a server that the test may stop and configure.

    `options` are those of ``mulisa serve``, `config` is LiveKit's for the same.
    """
    with ExitStack() as stack:

        def start(*options: str, config: dict[str, Any] | None = None) -> SfuServer:
            server: SfuServer
            if kind == "livekit":
                program = request.getfixturevalue("livekit_program")
                server = LiveKitServer(program, config=config)
            else:
                server = EmbeddedServer(*options)
            return stack.enter_context(server)

        yield start


@pytest.fixture
def room() -> str:
    """A name that no other test has."""
    return f"room-{next(_numbers)}"


@dataclass
class Join:
    """Brings clients into the test's room until it is over."""

    server: SfuServer
    room: str
    stack: AsyncExitStack
    request: pytest.FixtureRequest
    sdk: str = "python"
    page: Page | None = None
    flags: tuple[str, ...] = ()
    """Of the browser, which the first client in it starts."""
    clients: dict[str, Client] = field(default_factory=dict)

    async def __call__(
        self,
        identity: str,
        *,
        sdk: str = "",
        url: str = "",
        token: str = "",
        options: dict[str, Any] | None = None,
        **grants: Any,
    ) -> Any:
        """Join; with the SDK of the test unless `sdk` says which. `options` are the SDK's.

        Typed as the protocol `Client` or the SDK's own class by who asks.
        """
        token = token or self.server.token(identity, self.room, **grants)
        where = (url or self.server.url, token, identity)
        client: PythonClient | BrowserClient
        if (sdk or self.sdk) == "python":
            client = PythonClient(*where, **options or {})
        else:
            client = BrowserClient(await self.browser_page(), *where, **options or {})
        self.clients[identity] = await self.stack.enter_async_context(client)
        return client

    async def browser_page(self) -> Page:
        """The page that the clients in this test's browser share."""
        if self.page is None:
            chromium = self.request.getfixturevalue("chromium")
            page = page_for_clients(chromium, *self.flags)
            self.page = await self.stack.enter_async_context(page)
        return self.page


@pytest.fixture(params=SDKS)
def sdk(request: pytest.FixtureRequest) -> str:
    """Which SDK the clients of `join` have."""
    found: str = request.param
    return found


@pytest.fixture
async def python_join(
    server: SfuServer, room: str, request: pytest.FixtureRequest
) -> AsyncIterator[Join]:
    """Clients of the Python SDK, unless they ask for the other one."""
    async with AsyncExitStack() as stack:
        yield Join(server, room, stack, request)


@pytest.fixture
async def join(python_join: Join, sdk: str) -> Join:
    """Clients of each SDK in turn."""
    python_join.sdk = sdk
    return python_join
