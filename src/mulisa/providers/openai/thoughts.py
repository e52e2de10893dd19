"""What a model thinks before it answers is not said aloud. Pure."""

from __future__ import annotations

from typing import Final

OPENING: Final = "<think>"
CLOSING: Final = "</think>"
"""How open models (DeepSeek, Qwen) mark it where the server leaves it in the text."""


class Spoken:
    """Leaves thoughts at the beginning of an answer out of its text, cut as it may be."""

    def __init__(self) -> None:
        self._held = ""
        self._is_thinking = False
        self._is_speaking = False

    def push(self, text: str) -> str:
        """The next piece; what of it is to be said, as far as that is known."""
        if self._is_speaking:
            return text
        self._held += text
        if not self._is_thinking:
            head = self._held.lstrip()
            if OPENING.startswith(head):
                return ""
            if not head.startswith(OPENING):
                return self._speak(self._held)
            self._is_thinking = True
        _, closing, rest = self._held.partition(CLOSING)
        if closing and (answer := rest.lstrip()):
            return self._speak(answer)
        self._held = CLOSING if closing else self._held[-len(CLOSING) :]
        return ""

    def end(self) -> str:
        """The answer is complete: what was held back and is no thought."""
        return "" if self._is_thinking or self._is_speaking else self._held

    def _speak(self, text: str) -> str:
        self._is_speaking, self._held = True, ""
        return text
