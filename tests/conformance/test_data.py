"""Data packets, text streams and remote procedure calls."""

from __future__ import annotations

import asyncio

import pytest

from tests.conformance.clients import ClientError, Data, sees
from tests.conformance.conftest import BOTH_SDKS, Join

pytestmark = pytest.mark.browser


@BOTH_SDKS
async def test_a_packet_reaches_all_others_as_it_was_sent(join: Join) -> None:
    alice, bob, carol = await join("alice"), await join("bob"), await join("carol")
    await alice.send("one", topic="numbers")
    await alice.send("two", topic="numbers")
    for client in (bob, carol):
        view = await sees(client, lambda view: len(view.data) == 2, "two packets")
        assert view.data == [
            Data("alice", "numbers", "one", True),
            Data("alice", "numbers", "two", True),
        ]
    await alice.send("three", is_reliable=False)
    for client in (bob, carol):
        view = await sees(client, lambda view: len(view.data) == 3, "the lossy one")
        assert view.data[2] == Data("alice", "", "three", False)
    assert (await alice.view()).data == []


async def test_a_packet_for_some_reaches_them_alone(join: Join) -> None:
    alice, bob, carol = await join("alice"), await join("bob"), await join("carol")
    await alice.send("secret", "bob")
    await alice.send("whisper", "bob", is_reliable=False)
    await sees(bob, lambda view: len(view.data) == 2, "both packets")
    await alice.send("all")
    await sees(carol, lambda view: view.data, "the last packet")
    assert [each.text for each in (await carol.view()).data] == ["all"]


async def test_what_is_sent_to_somebody_who_is_still_coming_is_kept(join: Join) -> None:
    alice = await join("alice")
    sent = 0

    async def talk() -> None:
        nonlocal sent
        while True:
            sent += 1
            await alice.send(str(sent))
            await asyncio.sleep(0.02)

    talking = asyncio.create_task(talk())
    try:
        bob = await join("bob")
        view = await sees(bob, lambda view: len(view.data) >= 20, "twenty packets")
    finally:
        talking.cancel()
        await asyncio.wait({talking})
    numbers = [int(each.text) for each in view.data]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


async def test_many_packets_come_in_order(join: Join) -> None:
    alice, bob = await join("alice"), await join("bob")
    texts = [f"{n} " + "x" * 1500 * (n % 9) for n in range(60)]
    for text in texts:
        await alice.send(text)
    view = await sees(bob, lambda view: len(view.data) == len(texts), "all packets")
    assert [each.text for each in view.data] == texts


async def test_text_streams_reach_all_or_some(join: Join) -> None:
    alice, bob, carol = await join("alice"), await join("bob"), await join("carol")
    for client in (alice, bob):
        await sees(client, lambda view: "carol" in view.others, "carol")
    long = "a word " * 6_000
    await alice.send_text(long)
    await alice.send_text("for bob", "bob")
    await alice.send_text("end")
    view = await sees(bob, lambda view: len(view.texts) == 3, "three texts")
    # A receiver reads streams side by side, so a short one may be complete first.
    assert sorted(view.texts) == [("alice", "topic", text) for text in (long, "end", "for bob")]
    view = await sees(carol, lambda view: len(view.texts) == 2, "two texts")
    assert sorted(text for _, _, text in view.texts) == [long, "end"]


async def test_procedures_are_called_and_answered(join: Join) -> None:
    alice, bob = await join("alice"), await join("bob")
    for client in (alice, bob):
        await sees(client, lambda view: view.others, "the other one")
    await bob.answer("greet")
    await alice.answer("greet")
    assert await alice.call("bob", "greet", "hello") == "bob: hello"
    assert await bob.call("alice", "greet", "y" * 9_000) == "alice: " + "y" * 9_000
    with pytest.raises(ClientError, match="not supported"):
        await alice.call("bob", "absent", "")


@pytest.mark.parametrize("sdk", ["python"])
async def test_both_sdks_understand_each_other(join: Join) -> None:
    alice, bob = await join("alice"), await join("bob", sdk="browser")
    for client in (alice, bob):
        await sees(client, lambda view: view.others, "the other one")
    await bob.answer("greet")
    await alice.answer("greet")
    assert await alice.call("bob", "greet", "hello") == "bob: hello"
    assert await bob.call("alice", "greet", "hello") == "alice: hello"
    await alice.send("from python", is_reliable=False)
    await bob.send_text("from a browser")
    view = await sees(bob, lambda view: view.data, "the packet")
    assert view.data == [Data("alice", "", "from python", False)]
    view = await sees(alice, lambda view: view.texts, "the text")
    assert view.texts == [("bob", "topic", "from a browser")]
