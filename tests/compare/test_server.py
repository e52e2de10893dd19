"""Who spends CPU, and who makes offers."""

from __future__ import annotations

import os
import threading

import pytest

from mulisa.compare.joining import _whose
from mulisa.compare.server import Shares, cpu_shares
from mulisa.compare.signalling import Message

pytestmark = pytest.mark.unit


def test_shares_are_what_was_spent_since() -> None:
    spent = Shares(loop=3.0, webrtc=2.0, engines=9.0, voice=1.0)
    earlier = Shares(loop=1.0, webrtc=1.0, engines=4.0)
    since = spent.since(earlier)
    assert since == Shares(loop=2.0, webrtc=1.0, engines=5.0, voice=1.0)
    assert (since.media, since.total) == (3.0, 9.0)


def test_threads_without_a_name_are_engines_and_the_first_is_the_loop() -> None:
    ending = threading.Event()
    thread = threading.Thread(target=ending.wait)
    thread.start()
    try:
        shares = cpu_shares(os.getpid())
    finally:
        ending.set()
        thread.join()
    assert shares.loop > 0
    assert shares.total >= shares.loop


def test_offers_are_told_by_who_made_them() -> None:
    messages = [
        Message(1.0, "mulisa", "up", "offer"),
        Message(1.1, "mulisa", "up", "offer"),
        Message(1.2, "alice", "up", "offer"),
        Message(1.3, "mulisa", "up", "trickle"),
    ]
    assert _whose(messages, "mulisa", "sfu") == "2 of them by who came"
