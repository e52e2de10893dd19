"""Rows 1, 2 and 7: connections, bandwidth and CPU, in speech and in silence."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from mulisa.compare import probe
from mulisa.compare.capture import IPV6_BYTES, Packet, first_packets
from mulisa.compare.clock import now
from mulisa.compare.measure import Call
from mulisa.compare.metrics import NAMES, SILENCE, SPEECH, Topology
from mulisa.compare.scenario import MULISA
from mulisa.compare.server import Shares, cpu_seconds, cpu_shares, udp_ports
from mulisa.compare.theory import HER_OWN, Stream

TRIALS: Final = 3
AGREES: Final = 5.0
"""%: what differs by more was not counted at the same moments."""
BEGINNING: Final = 0.5
"""Seconds of speech before the counting begins."""
_VOICES: Final = "packets of voices alone; RTCP and data channels come on top"
_SEEN: Final = "pairs of ports that carry voices between her and the server"
_UNSEEN: Final = "by theory: without root hers is not seen"
_EVERYTHING: Final = "theory: voices alone; RTCP, consent checks and data channels come on top"
_ONE_BROWSER: Final = "all people live in one Chromium: its CPU divided by their number"


_WITHOUT_ENGINES: Final = "her event loop, and the threads of libwebrtc"


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU seconds so far."""

    at: float
    browser: float
    mulisa: Shares
    server: float | None
    """None if it is on another machine."""


async def traffic(call: Call) -> None:
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
    await _connections(call)


async def _connections(call: Call) -> None:
    """How many there are; everybody has spoken on them, Mulisa too."""
    after = [await probe.read(person) for person in call.people]
    call.book.codec = next((each.codec for page in after for each in page if each.codec), "")
    add = call.book.add
    add("connections", "peer_connections", [len(each) for each in after])
    endpoints = [len({connection.remote for connection in each}) for each in after]
    add("connections", "remote_endpoints", endpoints)
    add("connections", "streams_sent", [_flowing(each, "sent") for each in after])
    add("connections", "streams_received", [_flowing(each, "received") for each in after])
    ends = sum(len(each) for each in after)
    hers = sum(each.name == "mulisa" for page in after for each in page)
    if call.plan.topology == "mesh":
        add("connections", "connections_of_mulisa", [hers])
        add("connections", "connections_in_total", [(ends + hers) / 2])
        return
    to_server = _her_ways(call)
    note = _SEEN if call.capture and call.venue.pid else _UNSEEN
    add("connections", "connections_of_mulisa", [to_server], note=note)
    add("connections", "connections_in_total", [ends + to_server])


def _her_ways(call: Call) -> int:
    """Pairs of ports between which her process and the server exchange voices."""
    if call.capture is None or call.mulisa is None or call.venue.pid is None:
        return HER_OWN[call.plan.topology]
    hers, servers = udp_ports(call.mulisa.pid), udp_ports(call.venue.pid)
    voices = [packet for packet in call.capture.between(0.0) if packet.ssrc is not None]
    lately = now() - call.plan.silence
    ways = {
        (packet.target, packet.source)
        for packet in voices
        if packet.at >= lately and packet.target in hers and packet.source in servers
    }
    sent = [p for p in voices if p.source in hers and p.target in servers]
    return len(ways | {(packet.source, packet.target) for packet in sent[-1:]})


def _flowing(connections: Sequence[probe.Connection], way: str) -> int:
    """Streams that carried packets so far; Mulisa has spoken before."""
    streams = [s for each in connections for s in getattr(each, way).values()]
    return sum(stream.packets > 0 for stream in streams)


async def _window(call: Call, condition: str, seconds: float) -> None:
    """What flows in some seconds; again if wire and counters contradict each other."""
    for left in reversed(range(TRIALS)):
        before = await _readings(call)
        await asyncio.sleep(seconds)
        after = await _readings(call)
        found = [probe.traffic(a, b) for a, b in zip(before, after, strict=True)]
        explained = _explained(call, before, after, found)
        if not left or all(abs(percent - 100) <= AGREES for percent in explained):
            break
    _book_traffic(call, condition, found)
    if explained:
        call.book.add("bandwidth", "upload_explained", explained, condition, _VOICES)
    elif call.capture is None:
        call.book.remark("bandwidth", "voices are compared with the wire by root only")
    if stream := one_stream(found):
        call.book.streams[condition] = stream
        call.book.hers[condition] = _her_stream(found, stream)
        call.book.remark("bandwidth", _header(call.plan.topology, stream))


def _header(topology: Topology, stream: Stream) -> str:
    """What a browser and a server agree on by themselves, and differs between servers."""
    protocol = "IPv6" if stream.ip_bytes == IPV6_BYTES else "IPv4"
    size = f"{stream.ip_bytes:.0f} bytes of each packet"
    return f"{NAMES[topology]}: {protocol}, whose header takes {size}."


async def _readings(call: Call) -> list[list[probe.Connection]]:
    return list(await asyncio.gather(*(probe.read(person) for person in call.people)))


def _book_traffic(call: Call, condition: str, found: Sequence[probe.Traffic]) -> None:
    def add(metric: str, samples: list[float], note: str = "") -> None:
        call.book.add("bandwidth", metric, samples, condition, note)

    add("upload", [each.upload for each in found])
    add("download", [each.download for each in found])
    add("upload_on_wire", [each.upload_on_wire for each in found], _EVERYTHING)
    add("download_on_wire", [each.download_on_wire for each in found], _EVERYTHING)
    add("payload_per_stream", [kbps for each in found for kbps in each.payload_per_stream])
    add("packets_per_stream", [rate for each in found for rate in each.packets_per_stream])


def _explained(
    call: Call,
    before: Sequence[Sequence[probe.Connection]],
    after: Sequence[Sequence[probe.Connection]],
    found: Sequence[probe.Traffic],
) -> list[float]:
    """The packets of each person's voice as the wire has them, in % of what was made."""
    if call.capture is None:
        return []
    percents = []
    for old, new, own in zip(before, after, found, strict=True):
        seen = 0
        for begin, end in probe.pairs(old, new):
            packets = call.capture.between(begin.at, end.at)
            seen += sum(packet.length for packet in packets if _carries_voice(packet, end))
        if own.made_bytes:
            percents.append(100 * seen / own.made_bytes)
    return percents


def _carries_voice(packet: Packet, connection: probe.Connection) -> bool:
    """RTP of any SSRC: what a browser sends to learn the bandwidth counts with its stream."""
    ports = connection.local_port, int(connection.remote.rpartition(":")[2])
    return packet.ssrc is not None and (packet.source, packet.target) == ports


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


def _her_stream(found: Sequence[probe.Traffic], stream: Stream) -> Stream:
    """What she sent to one listener on average, though she was silent."""
    rates = [each.heard.get(MULISA, (0.0, 0.0, 0.0)) for each in found]
    payload, packets, header = (sum(column) / len(rates) for column in zip(*rates, strict=True))
    return replace(
        stream, payload_kbps=payload, packets_per_second=packets, rtp_header_bytes=header
    )


def _spent(call: Call) -> Spent:
    hers = cpu_shares(call.mulisa.pid) if call.mulisa else Shares()
    server = cpu_seconds(call.venue.pid) if call.venue.pid else None
    return Spent(now(), cpu_seconds(call.browser_pid), hers, server)


def _book_cpu(call: Call, begin: Spent, end: Spent) -> None:
    percent = 100 / (end.at - begin.at)
    add, people = call.book.add, len(call.people)
    each = (end.browser - begin.browser) * percent / people
    add("scalability", "browser_cpu", [each], note=_ONE_BROWSER)
    hers = end.mulisa.since(begin.mulisa)
    add("scalability", "mulisa_cpu", [hers.total * percent], note=_told(hers, percent))
    add("scalability", "mulisa_media_cpu", [hers.media * percent], note=_WITHOUT_ENGINES)
    if begin.server is not None and end.server is not None:
        add("scalability", "server_cpu", [(end.server - begin.server) * percent])
    load = call.loads.between(begin.at, end.at)
    add("scalability", "machine_busy", [load.busy], note=f"{load.stolen:.1f} % of it stolen")


def _told(hers: Shares, percent: float) -> str:
    parts = (
        ("engines, Whisper above all", hers.engines),
        ("event loop", hers.loop),
        ("libwebrtc", hers.webrtc),
        ("Piper", hers.voice),
    )
    return "; ".join(f"{name}: {seconds * percent:.0f} %" for name, seconds in parts)


async def _book_streams(call: Call, begin: float, end: float) -> None:
    """Streams that came to somebody so far, and packets of voices that the server sent."""
    if call.capture is None or call.mulisa is None:
        call.book.remark("scalability", "packets are counted on the wire, which needs root")
        return
    packets = call.capture.between(begin, end)
    if call.venue.pid is not None:
        ports = udp_ports(call.venue.pid)
        forwarded = sum(packet.ssrc is not None and packet.source in ports for packet in packets)
        call.book.add("scalability", "packets_forwarded", [forwarded / (end - begin)])
    to_her = len(first_packets(packets, udp_ports(call.mulisa.pid)))
    pages = [await probe.read(person) for person in call.people]
    to_people = sum(
        stream.packets > 0 for page in pages for each in page for stream in each.received.values()
    )
    call.book.add("scalability", "streams_in_total", [to_people + to_her])
