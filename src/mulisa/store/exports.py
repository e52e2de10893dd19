"""A transcript as WebVTT, JSON, Markdown and plain text. Pure.

Names and words come from outside: each format escapes what it would take for its own markup,
and control characters, which a terminal would obey, are left out.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from webvtt import Caption, WebVTT
from webvtt.models import Timestamp

from mulisa.core.transcript import TranscriptEntry

if TYPE_CHECKING:
    from mulisa.store.transcript import Transcript

Format: TypeAlias = Literal["vtt", "json", "md", "txt"]

MIN_CUE: Final = timedelta(milliseconds=1)
"""A cue ends after it begins (WebVTT, 4.1)."""

_JOINERS: Final = "\u200c\u200d"
"""Invisible, and part of the spelling of Persian words and of many emoji."""
_MARKDOWN: Final = re.compile(r"([\\`*_{}\[\]()<>#+.!|~&=:-])")


def to_vtt(transcript: Transcript) -> str:
    """WebVTT with one voice span per entry; times count from the beginning of the call.

    A whisper has the class ``whisper``, and a comment says to whom.
    """
    captions = []
    for entry in transcript.entries:
        tag = "v" if entry.listener is None else "v.whisper"
        start = max(entry.started_at - transcript.started_at, timedelta())
        end = max(entry.ended_at - transcript.started_at, start + MIN_CUE)
        caption = Caption(
            str(Timestamp.from_seconds(start.total_seconds())),
            str(Timestamp.from_seconds(end.total_seconds())),
            f"<{tag} {_vtt(entry.name)}>{_vtt(entry.text)}",
        )
        if entry.listener is not None:
            caption.comments.append(_vtt(_whispered(transcript, entry)))
        if entry.interrupted:
            caption.comments.append(
                _vtt(f"interrupted; not heard: {entry.unspoken or '(nothing)'}")
            )
        captions.append(caption)
    return WebVTT(captions=captions).content + "\n"


def to_json(transcript: Transcript) -> str:
    """One object with the call's room and times (ISO 8601, UTC) and its entries in order."""
    document = {
        "room": transcript.room,
        "started_at": _iso(transcript.started_at),
        "ended_at": _iso(transcript.ended_at) if transcript.ended_at else None,
        "entries": [
            {
                "segment_id": entry.segment_id,
                "identity": entry.identity,
                "name": entry.name,
                "kind": entry.kind,
                "source": entry.source,
                "text": entry.text,
                "started_at": _iso(entry.started_at),
                "ended_at": _iso(entry.ended_at),
                "interrupted": entry.interrupted,
                "unspoken": entry.unspoken,
                "listener": entry.listener,
            }
            for entry in transcript.entries
        ],
    }
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def to_markdown(transcript: Transcript) -> str:
    """A heading, and a paragraph per entry with time, name and words; cut words are struck."""
    began = transcript.started_at.astimezone(UTC)
    parts = [f"# {_markdown(transcript.room)}", f"{began:%Y-%m-%d %H:%M} UTC"]
    for entry in transcript.entries:
        words = _markdown(entry.text)
        if entry.interrupted and entry.unspoken:
            words = f"{words} ~~{_markdown(entry.unspoken)}~~".strip()
        how = " (typed)" if entry.source == "chat" else ""
        if entry.listener is not None:
            how += f" ({_markdown(_whispered(transcript, entry))})"
        parts.append(f"`{_clock(transcript, entry)}` **{_markdown(entry.name)}**{how}: {words}")
    return "\n\n".join(parts) + "\n"


def to_text(transcript: Transcript) -> str:
    """A line per entry: time since the beginning of the call, name, words."""
    lines = []
    for entry in transcript.entries:
        who = _plain(entry.name)
        if entry.listener is not None:
            who += f" ({_plain(_whispered(transcript, entry))})"
        rest = " ..." if entry.interrupted else ""
        lines.append(f"{_clock(transcript, entry)}  {who}: {_plain(entry.text)}{rest}\n")
    return "".join(lines)


EXPORTS: Final[Mapping[Format, tuple[Callable[[Transcript], str], str]]] = {
    "vtt": (to_vtt, "text/vtt"),
    "json": (to_json, "application/json"),
    "md": (to_markdown, "text/markdown"),
    "txt": (to_text, "text/plain"),
}
"""Per format the export and its media type (all UTF-8)."""


def _plain(text: str) -> str:
    """On one line, without what a terminal would obey."""
    kept = (c for c in text if c.isprintable() or c.isspace() or c in _JOINERS)
    return " ".join("".join(kept).split())


def _vtt(text: str) -> str:
    return html.escape(_plain(text), quote=False)


def _markdown(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", _plain(text))


def _whispered(transcript: Transcript, entry: TranscriptEntry) -> str:
    """``whispered to Alice``: the name as she had it when she last spoke, or else her identity."""
    spoke = (each for each in reversed(transcript.entries) if each.identity == entry.listener)
    return f"whispered to {next((each.name for each in spoke), entry.listener)}"


def _clock(transcript: Transcript, entry: TranscriptEntry) -> str:
    seconds = max(0, int((entry.started_at - transcript.started_at).total_seconds()))
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
