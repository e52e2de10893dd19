"""What is said on a protoo socket of a mediasoup application, by its name. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

UNNAMED: Final = "?"
MAX_NAME: Final = 100
"""Characters of what somebody says that they are."""
_MOST_WAITING: Final = 1_000
"""Requests without an answer; older ones are forgotten."""


class Protoo:
    """Names of the messages of one socket: an answer is named after what it answers."""

    def __init__(self) -> None:
        self._asked: dict[tuple[str, int], str] = {}
        self.device = ""
        """What the client said that it is, once it joined."""

    def kind_of(self, way: str, data: str | bytes) -> str:
        """The method of a request or notification, "answer to METHOD"; "?" for others."""
        try:
            message = json.loads(data)
            if message.get("response"):
                return f"answer to {self._asked.pop((_back(way), message['id']), UNNAMED)}"
            method = str(message["method"])
            if message.get("request"):
                self._note(way, int(message["id"]), method, message.get("data") or {})
            return method
        except (ValueError, OverflowError, TypeError, KeyError, AttributeError, RecursionError):
            return UNNAMED  # not ours to judge: it goes on as it came

    def _note(self, way: str, number: int, method: str, data: Mapping[str, Any]) -> None:
        self._asked[way, number] = method
        if len(self._asked) > _MOST_WAITING:
            del self._asked[next(iter(self._asked))]
        if (way, method) == ("up", "join"):
            device = data["device"]
            self.device = f"{device['name']} {device['version']}"[:MAX_NAME]


def _back(way: str) -> str:
    return "up" if way == "down" else "down"
