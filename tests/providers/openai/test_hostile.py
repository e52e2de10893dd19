"""Whatever a service sends: deltas that everybody can work with, or a ProviderError.

The official SDK reads the bytes; there is no network below it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat.chat_completion_chunk import (
    ChoiceDeltaToolCall,
    ChoiceDeltaToolCallFunction,
)

from mulisa.core.errors import ProviderError
from mulisa.core.provider import ChatRequest, Delta, Message, TextDelta, ToolCall
from mulisa.providers.openai.chat_completions import CallAssembly
from mulisa.providers.openai.llm import OpenAILLM
from tests.services.openai_service import Body, OpenAIService

if TYPE_CHECKING:
    from openai import AsyncOpenAI

pytestmark = pytest.mark.unit

CALLS = (ToolCall("call_1", "who_is_here", {"room": "é 🎉"}), ToolCall("call_2", "now", {}))
TALK = ChatRequest((Message("user", "who is here?", name="Zoë"),))
INTERFACES = pytest.mark.parametrize("interface", ["", "responses/"])
MANY = settings(max_examples=150)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


class Imagined(OpenAILLM):
    """A model whose service answers with these bytes."""

    def __init__(self, interface: str, *pieces: bytes) -> None:
        super().__init__(f"{interface}m", base_url="http://service/v1")
        self._pieces = pieces

    def _connect(self) -> AsyncOpenAI:
        from openai import AsyncOpenAI

        http = httpx2.AsyncClient(transport=httpx2.MockTransport(self._answer), trust_env=False)
        return AsyncOpenAI(api_key="k", base_url="http://service", max_retries=0, http_client=http)

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET":
            return httpx2.Response(404, json={"error": {"message": "no list"}})
        headers = {"Content-Type": "text/event-stream"}
        return httpx2.Response(200, headers=headers, content=self._content())

    async def _content(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


async def reply(interface: str, *pieces: bytes) -> list[Delta]:
    llm = Imagined(interface, *pieces)
    await llm.load(lambda *_: None)
    try:
        return [delta async for delta in llm.chat(TALK)]
    finally:
        await llm.aclose()


async def survives(interface: str, *pieces: bytes) -> None:
    try:
        deltas = await reply(interface, *pieces)
    except ProviderError as error:
        assert "\n" not in str(error)
        return
    for delta in deltas:
        check(delta)


def check(delta: Delta) -> None:
    """It can be spoken, shown, stored and sent on."""
    if isinstance(delta, TextDelta):
        assert delta.text.encode()
    else:
        assert delta.name.encode() and delta.call_id.encode()
        assert isinstance(delta.arguments, dict)
        json.dumps(delta.arguments, allow_nan=False, ensure_ascii=False).encode()


def events(interface: str) -> list[Body]:
    """A whole answer."""
    service = OpenAIService()
    body: Body = {"model": "m", "stream_options": {"include_usage": True}}
    answer: list[str | ToolCall] = ["Let me ", "look: é 🎉.", *CALLS]
    return list(service._events(body, answer) if interface else service._chunks(body, answer))


def sse(*events: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


WHOLE = [TextDelta("Let me "), TextDelta("look: é 🎉."), *CALLS]


@INTERFACES
@given(cuts=st.lists(st.integers(0, 6000), max_size=12))
@settings(max_examples=40)
async def test_a_network_cuts_where_it_likes(interface: str, cuts: Sequence[int]) -> None:
    sent = sse(*events(interface))
    ends = [*sorted(cuts), len(sent)]
    pieces = [sent[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    assert await reply(interface, *pieces) == WHOLE


@INTERFACES
@given(data=st.data())
@MANY
async def test_one_value_is_something_else(interface: str, data: st.DataObject) -> None:
    sent = copy.deepcopy(events(interface))
    holder, key = data.draw(st.sampled_from(list(places(sent))))
    if data.draw(st.booleans()):
        holder[key] = data.draw(JSON)
    else:
        del holder[key]
    await survives(interface, sse(*sent))


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Everything in nested lists and objects, as holder and key."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])


@INTERFACES
@given(data=st.data())
@MANY
async def test_answers_of_anything(interface: str, data: st.DataObject) -> None:
    anything = st.binary(max_size=40) | st.lists(JSON, max_size=3).map(lambda all: sse(*all))
    known = st.sampled_from(events(interface)).map(sse)
    await survives(interface, *data.draw(st.lists(anything | known, max_size=5)))


FAILED = [
    ({"type": "error", "code": "server_error", "message": "oh"}, "could not answer: oh", True),
    ({"type": "error", "code": "insufficient_quota", "message": "oh"}, "oh; .*billing", False),
    ({"type": "error", "error": {"code": "insufficient_quota", "message": "oh"}}, "billing", False),
    ({"type": "response.failed", "response": {"error": {"message": "oh"}}}, "answer: oh", True),
    ({"type": "response.failed", "response": {}}, "could not answer", True),
]


@pytest.mark.parametrize(("event", "words", "is_retryable"), FAILED)
async def test_responses_that_fail(event: Body, words: str, is_retryable: bool) -> None:
    with pytest.raises(ProviderError, match=words) as caught:
        await reply("responses/", sse(*events("responses/")[:5], event))
    assert caught.value.retryable is is_retryable


async def test_responses_that_are_refused_or_cut_short() -> None:
    said = {"type": "response.refusal.delta", "delta": "I must not."}
    incomplete = {"type": "response.incomplete", "response": {"usage": None}}
    assert await reply("responses/", sse(said, incomplete)) == [TextDelta("I must not.")]


ARGUMENTS = st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers(), max_size=3)


@given(st.data(), st.lists(ARGUMENTS, min_size=1, max_size=4))
def test_calls_in_any_pieces(data: st.DataObject, arguments: list[dict[str, Any]]) -> None:
    """Pieces of one call keep their order; those of several calls come mixed."""
    waiting = []
    for index, each in enumerate(arguments):
        text = json.dumps(each)
        ends = [*sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4))), len(text)]
        begin = _piece(index, f"call_{index}", "tool", "")
        rest = [
            _piece(index, None, None, text[a:b]) for a, b in zip([0, *ends], ends, strict=False)
        ]
        waiting.append([begin, *rest])
    calls = CallAssembly()
    while waiting := [pieces for pieces in waiting if pieces]:
        calls.add([data.draw(st.sampled_from(waiting)).pop(0)])
    got = {call.call_id: call.arguments for call in calls.complete()}
    assert got == {f"call_{index}": each for index, each in enumerate(arguments)}


def _piece(index: int, call_id: str | None, name: str | None, text: str) -> ChoiceDeltaToolCall:
    function = ChoiceDeltaToolCallFunction(name=name, arguments=text)
    return ChoiceDeltaToolCall(index=index, id=call_id, function=function)


PIECES = st.builds(
    ChoiceDeltaToolCall,
    index=st.integers(0, 3),
    id=st.one_of(st.none(), st.sampled_from(["", "a", "b"])),
    function=st.one_of(
        st.none(),
        st.builds(
            ChoiceDeltaToolCallFunction,
            name=st.one_of(st.none(), st.text(max_size=5)),
            arguments=st.one_of(st.none(), st.text('{}[]":a1,', max_size=8)),
        ),
    ),
)


@given(st.lists(PIECES, max_size=12))
def test_any_pieces_are_calls_or_an_error(pieces: list[ChoiceDeltaToolCall]) -> None:
    calls = CallAssembly()
    calls.add(pieces)
    try:
        complete = calls.complete()
    except ProviderError:
        return
    for call in complete:
        check(call)
