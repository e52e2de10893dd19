"""How often the gate is wrong: false alarms on real meetings, recall on what a recogniser wrote.

Nobody in the meetings talks to her, so every turn that she takes for hers is a false alarm. The
calls are sentences said by several synthetic voices with her name in them, as whisper tiny.en
wrote them (tests/agent/mulisa_heard.json); some have lost every trace of the name.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mulisa.agent.discretion import is_private
from mulisa.agent.gate import Exchange, Gate, GateConfig, GateContext, Judgement, Person, Turn
from mulisa.agent.persona import Persona
from mulisa.core.room import Identity

HEARD = Path(__file__).parents[1] / "tests" / "agent" / "mulisa_heard.json"
NAMES = ("Alice", "Bob", "Carol", "Dave", "Erin", "Frank", "Grace", "Heidi", "Ivan", "Judy")
WORDS_PER_MINUTE = 150
FOLLOWED_AFTER = 3.0


def main() -> None:
    """Measure, print a table, and write the figures if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--meetings", type=Path, help="folder of *.jsonl files, one {speaker, text} a line"
    )
    parser.add_argument("--calls", type=Path, default=HEARD, help="what a recogniser wrote")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--show", action="store_true", help="print each false alarm and miss")
    parser.add_argument("--small", action="store_true", help="without meetings it is small already")
    options = parser.parse_args()
    gate = Gate(GateConfig(), Persona())
    figures: dict[str, Any] = {"python": platform.python_version(), "machine": platform.machine()}
    figures["calls"] = recall(gate, json.loads(options.calls.read_text()), options.show)
    if options.meetings is not None:
        files = sorted(options.meetings.glob("*.jsonl"))
        figures["meetings"] = false_alarms(gate, files, options.show)
    show(figures)
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def recall(gate: Gate, heard: Sequence[dict[str, str]], show: bool) -> dict[str, Any]:
    """Share of calls that are taken for calls, by kind of voice, and of what is none."""
    called: Counter[tuple[str, bool]] = Counter()
    total: Counter[tuple[str, bool]] = Counter()
    for line in heard:
        kind = line["voice"].split("-")[0]
        is_call = "Mulisa" in line["said"]
        judgement = gate.judge(_turn("Alice", line["heard"]), _room(NAMES[:4]))
        total[kind, is_call] += 1
        called[kind, is_call] += judgement.addressed
        if show and judgement.addressed != is_call:
            print(f"{'missed' if is_call else 'false'}: {line['said']} -> {line['heard']}")
    return {
        f"{kind}_{'recall' if is_call else 'false'}": {
            "share": round(called[kind, is_call] / count, 4),
            "of": count,
        }
        for (kind, is_call), count in sorted(total.items())
    }


def false_alarms(gate: Gate, files: Sequence[Path], show: bool) -> dict[str, Any]:
    """Of real meetings: how often she would answer though nobody spoke to her.

    `followed` is the same with every turn taken for the speaker's first words 3 s after she
    answered them, which asks more of the words than any real call does. `whispers` are turns that
    would be answered in private had they been said to her, `whispers_after_one` after a whisper.
    """
    turns = words = alarms = followed = whispers = after_whisper = 0
    took = 0.0
    for file in files:
        for speaker, text, people in _meeting(file):
            turn, room = _turn(speaker, text), _room(people)
            begun = time.perf_counter()
            judgement = gate.judge(turn, room)
            took += time.perf_counter() - begun
            turns += 1
            words += len(text.split())
            alarms += judgement.addressed
            followed += _after_exchange(gate, turn, room).addressed
            whispers += is_private(text)
            after_whisper += is_private(text, after_whisper=True)
            if show and judgement.addressed:
                print(f"false: {judgement.reasons[0]} <- {text[:100]}")
    hours = words / WORDS_PER_MINUTE / 60
    return {
        "turns": turns,
        "hours": round(hours, 1),
        "false_alarms": alarms,
        "per_1000_turns": round(1000 * alarms / turns, 3),
        "per_hour": round(alarms / hours, 3),
        "followed_share": round(followed / turns, 4),
        "us_per_turn": round(1e6 * took / turns, 1),
        "whispers": whispers,
        "whispers_after_one": after_whisper,
    }


def show(figures: dict[str, Any]) -> None:
    """Print the figures."""
    table = Table("what", "figure", title="the gate")
    for name, value in figures["calls"].items():
        table.add_row(name, f"{value['share']:.1%} of {value['of']}")
    for name, value in figures.get("meetings", {}).items():
        table.add_row(name, str(value))
    Console().print(table)


def _meeting(file: Path) -> Iterator[tuple[str, str, Sequence[str]]]:
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    speakers = list(dict.fromkeys(line["speaker"] for line in lines))
    names = {speaker: NAMES[i % len(NAMES)] for i, speaker in enumerate(speakers)}
    people = tuple(dict.fromkeys(names.values()))
    for line in lines:
        yield names[line["speaker"]], line["text"], people


def _turn(name: str, text: str) -> Turn:
    return Turn(Identity(name), text, started_at=0.0, ended_at=2.0)


def _room(names: Sequence[str]) -> GateContext:
    return GateContext(tuple(Person(Identity(name), name) for name in names), now=2.5)


def _after_exchange(gate: Gate, turn: Turn, room: GateContext) -> Judgement:
    exchange = Exchange(turn.identity, ended_at=turn.started_at - FOLLOWED_AFTER)
    return gate.judge(turn, GateContext(room.people, room.now, exchange))


if __name__ == "__main__":
    main()
