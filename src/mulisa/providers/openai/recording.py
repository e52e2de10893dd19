"""What was said in one utterance, kept until its words are known. Pure but for its two events."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import numpy as np

from mulisa.core.audio import HEARING_RATE_HZ, Samples

MIN_SAMPLES: Final = HEARING_RATE_HZ // 10
"""A part is made at least as long with silence: OpenAI refuses to take less than 100 ms."""


class Part:
    """What was said between two pauses."""

    def __init__(self) -> None:
        self.text: str | None = None
        """None until it is understood."""
        self.committed = False
        """Nothing more is added to it."""
        self._pieces: list[Samples] = []
        self._length = 0

    def __len__(self) -> int:
        """Samples at 16 kHz."""
        return self._length

    def push(self, samples: Samples) -> None:
        """Append audio."""
        self._pieces.append(samples)
        self._length += len(samples)

    def since(self, start: int) -> Samples:
        """What comes after so many samples."""
        kept: list[Samples] = []
        missing = self._length - start
        for piece in reversed(self._pieces):
            if missing <= 0:
                break
            kept.append(piece[-missing:])
            missing -= len(kept[-1])
        return np.concatenate(kept[::-1]) if kept else np.empty(0, dtype=np.int16)


class Recording:
    """An utterance in parts: all but the last one are committed."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.grown = asyncio.Event()
        """There is more to send; cleared by whoever sends."""
        self._understood = asyncio.Event()

    @property
    def pending(self) -> list[Part]:
        """Committed parts whose words are not known."""
        return [part for part in self.parts if part.committed and part.text is None]

    @property
    def first_unknown(self) -> int:
        """Index of the first part whose words are not known."""
        known = (index for index, part in enumerate(self.parts) if part.text is None)
        return next(known, len(self.parts))

    def push(self, samples: Samples) -> None:
        """Append audio."""
        if not self.parts or self.parts[-1].committed:
            self.parts.append(Part())
        self.parts[-1].push(samples)
        self.grown.set()

    def commit(self) -> Sequence[Part]:
        """A pause: all parts, none of which grows any more."""
        if self.parts and not self.parts[-1].committed:
            last = self.parts[-1]
            last.push(np.zeros(max(0, MIN_SAMPLES - len(last)), dtype=np.int16))
            last.committed = True
            self.grown.set()
        return tuple(self.parts)

    def understand(self, part: Part, text: str) -> None:
        """The words of a part."""
        part.text = text
        self._understood.set()

    async def wait_understood(self, parts: Sequence[Part]) -> None:
        """Until the words of all these are known."""
        while any(part.text is None for part in parts):
            self._understood.clear()
            await self._understood.wait()

    def text_with(self, part: Part | None, words: str) -> str:
        """Everything known, and `words` for a part; None is the first that is not known."""
        texts = []
        for each in self.parts:
            if each is part or (part is None and each.text is None):
                texts.append(words)
                break
            texts.append(each.text or "")
        return joined(texts)


def joined(texts: Sequence[str]) -> str:
    """With one space between any two that have words."""
    return " ".join(text.strip() for text in texts if text.strip())
