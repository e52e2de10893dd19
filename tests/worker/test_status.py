from __future__ import annotations

import io

import pytest

from mulisa.core.room import RoomName
from mulisa.worker import status
from mulisa.worker.status import Status, from_line, tell_parent, to_line

pytestmark = pytest.mark.unit

ROOM = RoomName("Ideen ☕")


@pytest.mark.parametrize(
    "said",
    [
        status.ProcessStarted(7),
        status.ProcessDied(-9, 0.25),
        status.EngineLoading("stt", "whisper tiny.en\n(bundled)", 1.0),
        status.EngineLoading("tts", "loading", None),
        status.Registered("ws://localhost:8000", "AW_1"),
        status.GatewayLost("ws://localhost:8000", "it does not answer", 0.5),
        status.SessionStarted(ROOM),
        status.SessionEnded(ROOM),
        status.SessionFailed(ROOM, "no ears"),
        status.RoomEntered(ROOM),
        status.RoomLost(ROOM, "it is closed", 0.25),
        status.Removed(ROOM),
        status.AgentStateChanged(ROOM, "thinking"),
        status.EngineTrouble(ROOM, "stt", "OpenAI", "it is slow; wait", "whisper"),
        status.LastWordsAwaited(ROOM, 9.0),
        status.Draining(2),
    ],
)
def test_a_status_survives_the_pipe_as_one_line(said: Status) -> None:
    line = to_line(said)
    assert "\n" not in line
    assert from_line(line) == said


@pytest.mark.parametrize(
    "line",
    [
        "",
        "loading ...",
        "7",
        "[]",
        "{}",
        '{"status": "nonsense"}',
        '{"status": "draining"}',
        '{"status": "draining", "rooms": 1, "more": 2}',
        '{"status": ["draining"]}',
    ],
)
def test_any_other_line_is_no_status(line: str) -> None:
    assert from_line(line) is None


def test_a_parent_that_is_gone_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Broken())
    tell_parent(status.Draining(1))
