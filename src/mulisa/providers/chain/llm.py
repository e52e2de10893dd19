"""Language models that stand in for each other."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from mulisa.core.errors import ProviderError
from mulisa.core.provider import LLM, ChatRequest, Delta, Message, Progress, TextDelta, ToolCall
from mulisa.providers.chain.joint import Continuation, WholeWords
from mulisa.providers.chain.results import Pieces
from mulisa.providers.chain.rota import ChainConfig, Member, Rota, retries

CONTINUE: Final = (
    "Your last message was cut off in the middle. Go on exactly where it ends: say none of its "
    "words again and do not mention the interruption."
)
NO_TEXT: Final = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff\ufffd]")
"""Characters that no engine means to say."""


class LLMChain:
    """Asks the next model when one does not begin in time, and lets it finish half an answer.

    Text comes in whole words. Tool calls come when the answer is complete, so none is made twice.
    """

    def __init__(self, engines: Sequence[LLM], config: ChainConfig | None = None) -> None:
        """`engines`: the favourite first."""
        self._config = config or ChainConfig()
        self.rota: Rota[LLM] = Rota("llm", engines, self._config)

    @property
    def label(self) -> str:
        """All models, in order."""
        return self.rota.label

    async def load(self, progress: Progress) -> None:
        """Load all. Raises ProviderUnavailable if none can be had."""
        await self.rota.load(progress)

    async def aclose(self) -> None:
        """Free all. Idempotent."""
        await self.rota.aclose()

    async def chat(self, request: ChatRequest) -> AsyncIterator[Delta]:
        """Stream one step. Raises ProviderError if nobody can begin or finish it."""
        said = ""
        failed: Member[LLM] | None = None
        for takeovers in range(self._config.max_takeovers + 1):
            member, pieces = await self._begin(request, said, failed)
            answer = _Answer(pieces, said, is_due=_expects_words(request))
            try:
                async for text in answer.texts(partial(self.rota.gap, takeovers)):
                    said += text
                    yield TextDelta(text)
            except Exception as error:  # an engine of somebody else may raise anything
                failed = member
                failure = self.rota.failed(member, error, self.rota.successor(member))
                if takeovers == self._config.max_takeovers:
                    raise failure from error
                continue
            finally:
                await pieces.aclose()
            self.rota.worked(member)
            for call in answer.calls:
                yield call
            return

    async def _begin(
        self, request: ChatRequest, said: str, failed: Member[LLM] | None
    ) -> tuple[Member[LLM], Pieces[Delta]]:
        rest = _continued(request, said)

        async def attempt(member: Member[LLM], limit: float) -> Pieces[Delta]:
            pieces: Pieces[Delta] = await Pieces.begin(member.engine.chat(rest), _checked, limit)
            if pieces.is_empty and not said and _expects_words(request):
                raise ProviderError("the model had nothing to say")
            return pieces

        async def ask() -> tuple[Member[LLM], Pieces[Delta]]:
            return await self.rota.ask(attempt, last=failed)

        return await retries(self._config)(ask)


class _Answer:
    """One engine's part of an answer."""

    def __init__(self, pieces: Pieces[Delta], said: str, *, is_due: bool) -> None:
        """`said` is what others said of it; `is_due`: it must not be empty."""
        self.calls: list[ToolCall] = []
        self._pieces = pieces
        self._is_due = is_due and not said
        self._words = WholeWords()
        self._continuation = Continuation(said)

    async def texts(self, gap: Callable[[], float]) -> AsyncIterator[str]:
        """Whole words that are new. Raises what the engine raises, and for an empty answer."""
        is_empty = True
        while (delta := await self._pieces.next(gap())) is not None:
            if isinstance(delta, ToolCall):
                self.calls.append(delta)
                continue
            is_empty = is_empty and not delta.text.strip()
            if text := self._continuation.push(self._words.push(delta.text)):
                yield text
        if is_empty and not self.calls and self._is_due:
            raise ProviderError("the model had nothing to say")
        rest = self._continuation.push(self._words.flush()) + self._continuation.flush()
        if rest:
            yield rest


def _continued(request: ChatRequest, said: str) -> ChatRequest:
    if not said.strip():
        return request
    half = (Message("assistant", said.strip()), Message("system", CONTINUE))
    return replace(request, messages=(*request.messages, *half))


def _expects_words(request: ChatRequest) -> bool:
    """After a tool there may be nothing left to say."""
    return bool(request.messages) and request.messages[-1].role == "user"


def _checked(delta: Any) -> Delta | None:
    """Raises ProviderError for what is no delta."""
    match delta:
        case ToolCall():
            return delta
        case TextDelta(text=str(text)) if not NO_TEXT.search(text):
            return delta if text else None
        case _:
            raise ProviderError("the model sent what is no answer")
