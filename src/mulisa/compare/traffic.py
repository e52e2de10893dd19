"""Rows 1, 2 and 7: connections, bandwidth and CPU, in speech and in silence."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mulisa.compare import probe
from mulisa.compare.capture import first_packets
from mulisa.compare.measure import Call, now
from mulisa.compare.metrics import SILENCE, SPEECH
from mulisa.compare.server import cpu_seconds, udp_ports
from mulisa.compare.speech import MONOLOGUE
from mulisa.compare.theory import Stream

BEGINNING: Final = 0.5
"""Seconds of speech before the counting begins."""
_VOICES: Final = "packets of voices alone; RTCP and data channels come on top"
_ONE_BROWSER: Final = "all people live in one Chromium: its CPU divided by their number"


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU seconds so far."""

    at: float
    browser: float
    mulisa: float
    server: float


async def connections(call: Call) -> None:
    """How many there are, and what flows on them, while all people speak."""
    await asyncio.gather(*(person.say(MONOLOGUE) for person in call.people))
    after = [await probe.read(person) for person in call.people]
    add = call.book.add
    add("connections", "peer_connections", [len(each) for each in after])
    endpoints = [len({connection.remote for connection in each}) for each in after]
    add("connections", "remote_endpoints", endpoints)
    add("connections", "streams_sent", [_flowing(each, "sent") for each in after])
    add("connections", "streams_received", [_flowing(each, "received") for each in after])
    ends = sum(len(each) for each in after)
    hers = sum(each.name == "mulisa" for page in after for each in page)
    is_mesh = call.plan.topology == "mesh"
    add("connections", "connections_of_mulisa", [hers if is_mesh else 1])
    add("connections", "connections_in_total", [(ends + hers) / 2 if is_mesh else ends + 1])


async def bandwidth(call: Call) -> None:
    """Speech, with what it costs everybody's CPU; then silence."""
    async with call.all_speaking():
        await asyncio.sleep(BEGINNING)
        begin = _spent(call)
        await _window(call, SPEECH, call.plan.speech)
        end = _spent(call)
    _book_cpu(call, begin, end)
    await _book_streams(call, begin.at, end.at)
    await asyncio.sleep(BEGINNING)
    await _window(call, SILENCE, call.plan.silence)


def _flowing(connections: Sequence[probe.Connection], way: str) -> int:
    """Streams that carried packets so far; Mulisa has spoken before."""
    streams = [s for each in connections for s in getattr(each, way).values()]
    return sum(stream.packets > 0 for stream in streams)


async def _window(call: Call, condition: str, seconds: float) -> list[probe.Traffic]:
    before = [await probe.read(person) for person in call.people]
    await asyncio.sleep(seconds)
    after = [await probe.read(person) for person in call.people]
    found = [probe.traffic(a, b) for a, b in zip(before, after, strict=True)]

    def add(metric: str, samples: list[float]) -> None:
        call.book.add("bandwidth", metric, samples, condition)

    add("upload", [each.upload for each in found])
    add("download", [each.download for each in found])
    add("upload_on_wire", [each.upload_on_wire for each in found])
    add("download_on_wire", [each.download_on_wire for each in found])
    add("payload_per_stream", [kbps for each in found for kbps in each.payload_per_stream])
    add("packets_per_stream", [rate for each in found for rate in each.packets_per_stream])
    _explain(call, condition, before, after, found)
    if stream := one_stream(found):
        call.book.streams[condition] = stream
    return found


def _explain(
    call: Call,
    condition: str,
    before: Sequence[Sequence[probe.Connection]],
    after: Sequence[Sequence[probe.Connection]],
    found: Sequence[probe.Traffic],
) -> None:
    """The packets of each person's voice, as the wire has them."""
    if call.capture is None:
        call.book.remark("bandwidth", "voices are compared with the wire by root only")
        return
    for old, new, own in zip(before, after, found, strict=True):
        voices = {ssrc for each in new for ssrc in each.sent}
        packets = call.capture.between(old[0].at, new[0].at)
        seen = sum(packet.length for packet in packets if packet.ssrc in voices)
        if own.made_bytes:
            percent = 100 * seen / own.made_bytes
            call.book.add("bandwidth", "upload_explained", [percent], condition, _VOICES)


def one_stream(found: Sequence[probe.Traffic]) -> Stream | None:
    """What one voice cost on average; None if nothing was sent."""
    payloads = [kbps for each in found for kbps in each.payload_per_stream]
    rates = [rate for each in found for rate in each.packets_per_stream]
    if not rates:
        return None
    return Stream(
        payload_kbps=sum(payloads) / len(payloads),
        packets_per_second=sum(rates) / len(rates),
        rtp_header_bytes=sum(each.header_bytes for each in found) / len(found),
        srtp_tag_bytes=found[0].tag_bytes,
        ip_bytes=found[0].ip_bytes,
    )


def _spent(call: Call) -> Spent:
    hers = cpu_seconds(call.mulisa.pid) if call.mulisa else 0.0
    return Spent(now(), cpu_seconds(call.browser_pid), hers, cpu_seconds(call.server.pid))


def _book_cpu(call: Call, begin: Spent, end: Spent) -> None:
    percent = 100 / (end.at - begin.at)
    add, people = call.book.add, len(call.people)
    each = (end.browser - begin.browser) * percent / people
    add("scalability", "browser_cpu", [each], note=_ONE_BROWSER)
    add("scalability", "mulisa_cpu", [(end.mulisa - begin.mulisa) * percent])
    add("scalability", "server_cpu", [(end.server - begin.server) * percent])


async def _book_streams(call: Call, begin: float, end: float) -> None:
    """Streams that came to somebody so far, and packets of voices that the server sent."""
    if call.capture is None or call.mulisa is None:
        call.book.remark("scalability", "packets are counted on the wire, which needs root")
        return
    packets = call.capture.between(begin, end)
    ports = udp_ports(call.server.pid)
    forwarded = sum(packet.ssrc is not None and packet.source in ports for packet in packets)
    call.book.add("scalability", "packets_forwarded", [forwarded / (end - begin)])
    to_her = len(first_packets(packets, udp_ports(call.mulisa.pid)))
    pages = [await probe.read(person) for person in call.people]
    to_people = sum(
        stream.packets > 0 for page in pages for each in page for stream in each.received.values()
    )
    call.book.add("scalability", "streams_in_total", [to_people + to_her])
