"""An LLM without a model: understands a dozen intents and answers with facts of the call.

Needs no key, no network and no weights. It sees what any LLM sees, the messages and the tools.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from mulisa.core.provider import ChatRequest, Delta, Progress


class Concierge:
    """Implements `LLM`."""

    @property
    def label(self) -> str:
        """What it is, for people."""
        return "concierge (built in, no model)"

    async def load(self, progress: Progress) -> None:
        """Nothing to load."""

    async def aclose(self) -> None:
        """Nothing to free."""

    def chat(self, request: ChatRequest) -> AsyncIterator[Delta]:
        """Ask for a tool first, then answer with its result, sentence by sentence."""
        raise NotImplementedError
