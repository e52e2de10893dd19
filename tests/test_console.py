"""What the terminal shows, to people and to machines."""

from __future__ import annotations

import io
import json
import logging
import os
import sys

import pytest

from mulisa.announce import Announcer, Command
from mulisa.console import Console, configure_logging
from mulisa.core.room import Identity, Participant, RoomName
from mulisa.core.secrets import keep_secret
from mulisa.server.events import (
    GatewayEvent,
    JobFailed,
    Joined,
    Left,
    RoomClosed,
    RoomOpened,
    SfuFound,
    SfuLost,
    Updated,
    WorkerLost,
    WorkerRegistered,
)
from mulisa.worker.status import (
    AgentStateChanged,
    CannotStart,
    Draining,
    EngineLoading,
    EngineTrouble,
    GatewayLost,
    LastWordsAwaited,
    ProcessDied,
    ProcessStarted,
    Registered,
    Removed,
    RoomEntered,
    RoomLost,
    SessionEnded,
    SessionFailed,
    SessionStarted,
    Status,
)

pytestmark = pytest.mark.unit

ROOM = RoomName("standup")
ALICE = Participant(Identity("alice-7f3k"), "Alice")
MULISA = Participant(Identity("mulisa"), "Mulisa", kind="agent")
EVERYTHING: list[GatewayEvent] = [
    RoomOpened(ROOM, "mesh"),
    Joined(ROOM, ALICE),
    WorkerRegistered("AW_1", ""),
    Joined(ROOM, MULISA),
    Updated(ROOM, MULISA),
    Left(ROOM, ALICE, "vanished"),
    JobFailed(ROOM, "it was too loud"),
    WorkerLost("AW_1"),
    RoomClosed(ROOM),
]


class Terminal(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def shown(*events: GatewayEvent | Status, as_json: bool = False, quiet: bool = False) -> list[str]:
    out = io.StringIO()
    announce = Announcer(Console(as_json=as_json, quiet=quiet, file=out), "Mulisa")
    for event in events:
        announce(event)
    return out.getvalue().splitlines()


def test_one_aligned_line_per_event_with_the_time() -> None:
    lines = shown(*EVERYTHING)
    assert len(lines) == len(EVERYTHING) - 1  # an agent's every change of state is not news
    assert all(line[2] == line[5] == ":" and line[:2].isdigit() for line in lines)
    assert lines[1][10:] == "standup         Alice joined"
    assert lines[3][10:] == "standup         Mulisa (AI) is here"
    assert lines[4][10:] == "standup         Alice is gone without a word"
    assert {line[24:26] for line in lines} == {"  "}


def test_json_for_machines() -> None:
    events = [json.loads(line) for line in shown(*EVERYTHING, as_json=True)]
    assert [event["event"] for event in events] == [
        "room_opened",
        "joined",
        "agent_ready",
        "joined",
        "left",
        "session_failed",
        "agent_lost",
        "room_closed",
    ]
    joined = events[1]
    assert joined.pop("time").endswith("+00:00")
    assert joined == {
        "event": "joined",
        "room": "standup",
        "identity": "alice-7f3k",
        "name": "Alice",
        "kind": "standard",
    }


def test_trouble_with_an_engine_is_one_line_and_that_it_is_over_another() -> None:
    begins = EngineTrouble(
        ROOM,
        "stt",
        "OpenAI",
        "OpenAI refuses the key: no; check OPENAI_API_KEY",
        "whisper (bundled)",
    )
    alone = EngineTrouble(ROOM, "tts", "Azure", "Azure cannot be reached", "")
    lines = shown(begins, alone, EngineTrouble(ROOM, "stt", "OpenAI", "", ""))
    assert [line[26:] for line in lines] == [
        "hearing: OpenAI refuses the key: no; check OPENAI_API_KEY (whisper does it meanwhile)",
        "speaking: Azure cannot be reached (nobody else does it meanwhile)",
        "hearing: OpenAI works again",
    ]
    event = json.loads(shown(begins, as_json=True)[0])
    assert (event["event"], event["room"], event["engine"]) == ("engine_trouble", ROOM, "OpenAI")


def test_nothing_says_a_secret_whoever_repeats_it() -> None:
    keep_secret("canary-0123456789")
    out, said = io.StringIO(), "refused: canary-0123456789"
    for as_json in (False, True):
        console = Console(file=out, as_json=as_json)
        console.event("teapot", said, said, reason=said)
        console.fact("teapot", said)
        console.loading("stt", said, None)
        console.loading("stt", said, 1.0)
    terminal = Terminal()
    Console(file=terminal).loading("stt", said, 0.5)
    assert "refused" in out.getvalue() and "canary" not in out.getvalue() + terminal.getvalue()


def test_a_named_agent_process_is_not_called_ready() -> None:
    (line,) = shown(WorkerRegistered("AW_1", "scribe"))
    assert "scribe" in line and "rooms that ask for it" in line and "ready" not in line


def test_what_ends_with_us_is_no_news() -> None:
    out = io.StringIO()
    announce = Announcer(Console(file=out), "Mulisa")
    announce.is_ending = True
    announce(WorkerLost("AW_1"))
    assert out.getvalue() == ""


STATUSES: list[Status] = [
    ProcessStarted(17),
    EngineLoading("stt", "whisper tiny.en (bundled)", 1.0),
    Registered("ws://localhost:8000", "AW_1"),
    GatewayLost("ws://localhost:8000", "it cannot be reached", 0.25),
    SessionStarted(ROOM),
    SessionFailed(ROOM, "it was too loud"),
    SessionEnded(ROOM),
    Draining(1),
    ProcessDied(-9, 0.25),
]


def test_an_agent_process_of_our_own_repeats_nothing_that_the_gateway_tells() -> None:
    lines = [line.split("  ", 1)[-1].strip() for line in shown(*STATUSES)]
    assert lines == [
        "stt       whisper tiny.en (bundled)",
        "agent           leaves 1 room",
        "agent           its process died (signal 9) and is started again",
    ]


def test_who_ends_and_has_to_wait_is_told_what_for() -> None:
    out = io.StringIO()
    announce = Announcer(Console(file=out), "Mulisa")
    announce(LastWordsAwaited(ROOM, 9.0))
    assert out.getvalue() == "", "nobody waits"
    announce.is_ending = True
    for status in (*STATUSES, LastWordsAwaited(ROOM, 9.0)):
        announce(status)
    (line,) = out.getvalue().splitlines()
    assert line.endswith(
        "standup         waits for the words of what was said last, up to 9 s;"
        " Ctrl-C again ends at once"
    )


@pytest.mark.parametrize("command", ["worker", "join"])
def test_without_a_gateway_that_is_told_as_well(command: Command) -> None:
    out = io.StringIO()
    Announcer(Console(file=out), "", command)(LastWordsAwaited(ROOM, 9.0))
    assert "Ctrl-C again ends at once" in out.getvalue()


def test_a_worker_alone_tells_everything_itself() -> None:
    out = io.StringIO()
    announce = Announcer(Console(file=out, as_json=True), "", "worker")
    for status in STATUSES:
        announce(status)
    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == [
        "loading",
        "registered",
        "gateway_lost",
        "session_started",
        "session_failed",
        "session_ended",
        "draining",
        "agent_died",
    ]


def test_an_sfu_that_is_away_is_told_and_that_it_is_back() -> None:
    url = "ws://sfu:7880"
    lines = shown(SfuLost(url, f"{url} does not answer"), SfuFound(url))
    assert [line[26:] for line in lines] == [
        "ws://sfu:7880 does not answer; is tried again",
        "ws://sfu:7880 answers again",
    ]


def test_one_room_that_was_joined_tells_what_happens_in_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = io.StringIO()
    announce = Announcer(Console(file=out), "", "join")
    alice = Participant(Identity("alice-7f3k"), "Alice")
    told: list[GatewayEvent | Status] = [
        CannotStart("ws://sfu refuses the key; correct it"),
        RoomLost(ROOM, "ws://sfu does not answer", 0.0),
        RoomEntered(ROOM),
        Joined(ROOM, alice),
        AgentStateChanged(ROOM, "thinking"),
        RoomLost(ROOM, "the server closed the room", 0.25),
        Left(ROOM, alice, "left"),
        Removed(ROOM),
    ]
    for each in told:
        announce(each)
    assert [line[26:] for line in out.getvalue().splitlines()] == [
        "ws://sfu does not answer; tries again once the engines are loaded",
        "joined",
        "Alice joined",
        "thinking",
        "the server closed the room; tries again in 0.2 s",
        "Alice left",
        "was put out of the room",
    ]
    assert capsys.readouterr().err == "error: ws://sfu refuses the key\n       correct it\n"


def test_what_is_missing_is_told_even_in_quiet_mode(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(CannotStart("no ears; get some"), quiet=True) == []
    complaint = capsys.readouterr().err
    assert complaint == "error: the agent cannot start: no ears\n       get some\n"


def test_quiet() -> None:
    assert shown(*EVERYTHING, quiet=True) == []


def test_names_do_not_command_the_terminal() -> None:
    mallory = Participant(Identity("m"), "\x1b[2J\x9b1m[bold]Mallory\r\nroot")
    (line,) = shown(Joined(ROOM, mallory))
    assert line.endswith(" [2J 1m[bold]Mallory  root joined")


def test_names_are_no_markup_on_a_terminal() -> None:
    terminal = Terminal()
    Announcer(Console(file=terminal), "Mulisa")(
        Joined(ROOM, Participant(Identity("m"), "[red]:smile:[/x]"))
    )
    assert "[red]:smile:[/x] joined" in terminal.getvalue()


def test_errors_say_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    Console(file=out, quiet=True).error("cannot do this: it is in use; do that")
    assert capsys.readouterr().err == "error: cannot do this: it is in use\n       do that\n"
    Console(file=out, as_json=True).error("no; go")
    assert json.loads(out.getvalue())["message"] == "no; go"


def test_loading_without_a_terminal_is_plain_lines() -> None:
    out = io.StringIO()
    console = Console(file=out)
    console.loading("stt", "loading whisper", None)
    for percent in range(100):
        console.loading("stt", "downloading", percent / 100)
    console.loading("stt", "whisper tiny.en (bundled)", 1.0)
    assert out.getvalue().splitlines() == [
        "  stt       loading whisper",
        "  stt       whisper tiny.en (bundled)",
    ]


def test_loading_on_a_terminal_leaves_what_came_of_it() -> None:
    terminal = Terminal()
    console = Console(file=terminal)
    console.loading("stt", "loading whisper", None)
    console.loading("tts", "loading piper", 0.25)
    console.event("joined", "standup", "Alice joined")
    console.loading("stt", "whisper tiny.en (bundled)", 1.0)
    before = len(terminal.getvalue())
    console.loading("tts", "loading piper", 0.5)
    console.event("joined", "standup", "Bob joined")
    assert "loading piper" in terminal.getvalue()[before:]
    assert "loading whisper" not in terminal.getvalue()[before:]
    console.loading("tts", "piper joe (bundled)", 1.0)
    console.event("agent_ready", "agent", "Mulisa is ready")
    shown_text = terminal.getvalue()
    assert "Alice joined\n" in shown_text
    bars, lines = shown_text.rsplit("\x1b[?25h", 1)  # the cursor is shown again, the bars are gone
    assert "loading whisper" in bars
    assert lines.endswith("Mulisa is ready\n")
    assert "loading" not in lines
    assert "  stt       whisper tiny.en (bundled)\n" in shown_text
    assert "  tts       piper joe (bundled)\n" in shown_text


@pytest.mark.parametrize(
    ("debug", "quiet", "expected"),
    [(False, False, ["warning"]), (True, False, ["debug", "warning"]), (False, True, [])],
)
def test_logs(
    debug: bool, quiet: bool, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, ours = logging.getLogger(), logging.getLogger("mulisa")
    former = root.handlers[:], root.level, ours.level
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    try:
        configure_logging(debug=debug, quiet=quiet)
        logger = logging.getLogger("mulisa.agent.session")
        logger.debug("debug", extra={"text": "a secret"})
        logger.warning("warning", extra={"name_of_person": "Alice"})
    finally:
        root.handlers[:] = former[0]
        root.setLevel(former[1])
        ours.setLevel(former[2])
    lines = log.getvalue().splitlines()
    assert [line.rsplit(": ", 1)[1] for line in lines] == expected
    assert "secret" not in log.getvalue()
    assert "Alice" not in log.getvalue()


def test_a_reader_that_goes_away_is_no_failure() -> None:
    """`mulisa serve | head`, or a terminal that is closed: rooms must not notice."""
    reads, writes = os.pipe()
    with os.fdopen(writes, "w") as file:
        console = Console(file=file)
        console.fact("link", "http://localhost:8000")
        os.close(reads)
        for event in EVERYTHING:
            Announcer(console, "Mulisa")(event)
