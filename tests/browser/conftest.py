"""A real `mulisa serve` with local engines, and voices to speak to it with.

Every test that takes `server` runs in both topologies: `[mesh]`, and `[sfu]` on the embedded SFU,
in ``make test``; `[livekit]`, where a real LiveKit server is the SFU, in ``make slow``. What is
about one topology alone says so with `MESH_ONLY`; what need not run twice in ``make test``, with
`MESH_FIRST`, `SFU_FIRST` and `MESH_LATER`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.server import Server
from tests.browser.speech import Studio
from tests.livekit_server import LiveKitServer

LIVEKIT = pytest.param("livekit", marks=pytest.mark.slow)
TOPOLOGIES = ("mesh", "sfu", LIVEKIT)
MESH_ONLY = pytest.mark.parametrize("server", ["mesh"], indirect=True)
MESH_FIRST = pytest.mark.parametrize(
    "server", ["mesh", pytest.param("sfu", marks=pytest.mark.slow)], indirect=True
)
"""Where the conformance suite says the same of SFUs, in less time."""
SFU_FIRST = pytest.mark.parametrize(
    "server", ["sfu", pytest.param("mesh", marks=pytest.mark.slow)], indirect=True
)
"""What is before the topology, and the same in both."""
MESH_LATER = pytest.mark.parametrize(
    "server", ["sfu", pytest.param("mesh", marks=pytest.mark.slow), LIVEKIT], indirect=True
)
"""What takes long, and is about the agent's process, or shown for the mesh at its packets."""


@pytest.fixture(scope="session")
def studio() -> Studio:
    """Speech of several people, each understood by the recogniser when alone."""
    pytest.importorskip("faster_whisper", reason="needs the extra: pip install 'mulisa[local]'")
    return Studio()


@pytest.fixture(scope="session", params=TOPOLOGIES)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A talking room with local engines."""
    livekit: LiveKitServer | None = None
    if request.param == "livekit":
        livekit = request.getfixturevalue("livekit")
    running = Server(
        tmp_path_factory.mktemp("data"),
        "--llm",
        "concierge",
        topology="mesh" if request.param == "mesh" else "sfu",
        livekit=livekit,
    )
    try:
        running.wait_for("agent_ready")
        yield running
    finally:
        code = running.stop()
    assert code == 0


@pytest.fixture(autouse=True)
def _second_try_begins_anew(request: pytest.FixtureRequest) -> None:
    """Who was in a room when a test failed may be there still, and what they said is."""
    is_second = getattr(request.node, "execution_count", 1) > 1
    if is_second and "server" in request.fixturenames:
        request.getfixturevalue("server").begin_anew()
