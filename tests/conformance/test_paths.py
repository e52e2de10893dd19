"""Other ways to a server than UDP from host to host."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from livekit import rtc

from tests.conformance.browser_client import BrowserClient
from tests.conformance.clients import hears, sees, subscribes
from tests.conformance.conftest import Join, ServerFactory
from tests.conformance.python_client import PythonClient
from tests.turn_server import turn_server

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TCP_ONLY = """
(() => {
  const isUdp = (line) => /^(a=)?candidate:\\S+ \\d+ udp /i.test(line);
  const strip = ({type, sdp}) => ({
    type, sdp: sdp.split("\\r\\n").filter((line) => !isUdp(line)).join("\\r\\n"),
  });
  const prototype = RTCPeerConnection.prototype;
  const {createOffer, createAnswer, setRemoteDescription, addIceCandidate} = prototype;
  prototype.createOffer = async function(...given) {
    return strip(await createOffer.apply(this, given));
  };
  prototype.createAnswer = async function(...given) {
    return strip(await createAnswer.apply(this, given));
  };
  prototype.setRemoteDescription = function(description) {
    return setRemoteDescription.call(this, strip(description));
  };
  prototype.addIceCandidate = async function(init) {
    if (!isUdp(init?.candidate ?? "")) await addIceCandidate.call(this, init);
  };
  const found = Object.getOwnPropertyDescriptor(prototype, "onicecandidate");
  Object.defineProperty(prototype, "onicecandidate", {
    get: found.get,
    set(handler) {
      found.set.call(this, (event) => {
        if (!isUdp(event.candidate?.candidate ?? "")) handler?.call(this, event);
      });
    },
  });
})();
"""
"""No UDP candidate of one side becomes known to the other one."""


async def test_people_hear_each_other_through_the_servers_relays(
    own_server: ServerFactory, python_join: Join, tmp_path: Path
) -> None:
    with turn_server(tmp_path) as turn:
        await turn.answers()
        config = {"rtc": {"turn_servers": [turn.livekit]}}
        python_join.server = await asyncio.to_thread(
            own_server, "--ice-server", turn.ice_server, config=config
        )
        relay = rtc.RtcConfiguration(ice_transport_type=rtc.IceTransportType.TRANSPORT_RELAY)
        alice: PythonClient = await python_join("alice", options={"rtc_config": relay})
        connect = {"rtcConfig": {"iceTransportPolicy": "relay"}}
        bob: BrowserClient = await python_join("bob", sdk="browser", options={"connect": connect})
        await alice.publish(440.0)
        await bob.publish(600.0)
        await hears(alice, "bob", 600.0)
        await hears(bob, "alice", 440.0)
        for pair in await _pairs(bob):
            assert pair["local"]["candidateType"] == "relay", pair
        await alice.leave()
        await bob.leave()


async def test_a_browser_without_udp_comes_by_tcp(python_join: Join) -> None:
    page = await python_join.browser_page()
    await page.evaluate(TCP_ONLY)
    alice: PythonClient = await python_join("alice")
    bob: BrowserClient = await python_join("bob", sdk="browser")
    await alice.publish(440.0)
    await bob.publish(600.0)
    await hears(alice, "bob", 600.0)
    await hears(bob, "alice", 440.0)
    for pair in await _pairs(bob):
        assert pair["remote"]["protocol"] == "tcp", pair
    await bob.send("x" * 5_000)
    await sees(alice, lambda view: view.data, "what came by TCP")
    await bob.publish_video()
    await subscribes(alice, "bob", name="picture")
    await hears(bob, "alice", 440.0)


async def _pairs(client: BrowserClient) -> list[dict[str, Any]]:
    """The candidates of each selected pair, as ``local`` and ``remote``."""
    found = []
    by_id = {
        report["id"]: report
        for kind in ("transport", "candidate-pair", "local-candidate", "remote-candidate")
        for report in await client.stats(kind)
    }
    for report in by_id.values():
        if report["type"] == "transport" and "selectedCandidatePairId" in report:
            pair = by_id[report["selectedCandidatePairId"]]
            found.append(
                {
                    "local": by_id[pair["localCandidateId"]],
                    "remote": by_id[pair["remoteCandidateId"]],
                }
            )
    assert found
    return found
