"""Cuts streamed LLM text into pieces that can be spoken."""

from __future__ import annotations


class SentenceSplitter:
    """Cuts the text of one reply; pure."""

    def push(self, delta: str) -> list[str]:
        """Append LLM text; the segments that are complete now, ready for a TTS."""
        raise NotImplementedError

    def flush(self) -> list[str]:
        """The rest, at the end of the LLM's text."""
        raise NotImplementedError
