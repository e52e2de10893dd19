"""Bare clients of the example application on mediasoup: protoo in place of LiveKit's signalling.

What they send and count, and how, is that of `bench/_rtc.py`. A client has one transport: nobody
publishes and hears.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Sequence
from itertools import count
from typing import Any, Final

import aiohttp
from bench._rtc import PATIENCE, Client
from bench._rtc_link import PROFILES, Link
from bench._rtc_sdp import LEVEL_EXTENSION, OPUS, Sent, Theirs

_AUDIO_LEVEL: Final = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
_CODEC: Final = {"mimeType": "audio/opus", "clockRate": 48_000, "channels": 2}
_REPORT_EVERY: Final = 5.0


class MediasoupClient(Client):
    """See `Client`; a token is ``ROOM IDENTITY``."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        url: str,
        token: str,
        number: int = 0,
        profiles: Sequence[str] = tuple(PROFILES),
    ) -> None:
        super().__init__(http, url, token, number, profiles)
        self.link.close()
        self.link = Link(self._on_rtp, self._on_rtcp, profiles, has_channels=False)
        self._numbers = count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}

    async def join(self, *, is_publisher: bool, receiving: int = 0) -> None:
        """Return once packets can go to and fro."""
        room, _, identity = self._token.rpartition(" ")
        self._socket = await self._http.ws_connect(
            self._url, params={"roomId": room, "peerId": identity}, protocols=("protoo",)
        )
        self._tasks.append(asyncio.create_task(self._listen(self._socket)))
        self._tasks.append(asyncio.create_task(self._keep()))
        async with asyncio.timeout(PATIENCE):
            router = await self._ask("getRouterRtpCapabilities")
            transport = await self._open(is_publisher)
            codecs = [codec | {"kind": "audio"} for codec in router["codecs"]]
            capabilities = {"codecs": codecs, "headerExtensions": router["headerExtensions"]}
            device = {"flag": "bench"}
            asked = {"displayName": identity, "device": device, "rtpCapabilities": capabilities}
            await self._ask("join", asked)
            if is_publisher:
                await self._produce(transport)

    async def leave(self) -> None:
        """Close everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._socket:
            await self._socket.close()
        self.link.close()

    async def _open(self, is_publisher: bool) -> str:
        wanted = {"producing": is_publisher, "consuming": not is_publisher}
        options = await self._ask("createWebRtcTransport", wanted)
        ours = {"algorithm": "sha-256", "value": self.link.ours.fingerprint}
        dtls = {"role": "client", "fingerprints": [ours]}
        transport = str(options["id"])
        given = {"transportId": transport, "dtlsParameters": dtls}
        await self._ask("connectWebRtcTransport", given)
        fingerprints = options["dtlsParameters"]["fingerprints"]
        (sha,) = (each["value"] for each in fingerprints if each["algorithm"] == "sha-256")
        candidates = [each for each in options["iceCandidates"] if each["protocol"] == "udp"]
        addresses = tuple((str(each["ip"]), int(each["port"])) for each in candidates)
        ice = options["iceParameters"]
        theirs = Theirs(ice["usernameFragment"], ice["password"], sha, "passive", addresses)
        self.link.connect(theirs, addresses[0])
        await self.link.connected.wait()
        if self.link.failure:
            raise self.link.failure
        return transport

    async def _produce(self, transport: str) -> None:
        track = Sent(f"cid-{secrets.token_hex(8)}", secrets.randbits(31))
        self._tracks.append(track)
        parameters = {
            "codecs": [_CODEC | {"payloadType": OPUS, "parameters": {"useinbandfec": 1}}],
            "headerExtensions": [{"uri": _AUDIO_LEVEL, "id": LEVEL_EXTENSION}],
            "encodings": [{"ssrc": track.ssrc}],
            "rtcp": {"cname": track.cid},
        }
        asked = {"transportId": transport, "kind": "audio", "rtpParameters": parameters}
        await self._ask("produce", asked)

    async def _ask(self, method: str, data: object = None) -> Any:
        assert self._socket
        number = next(self._numbers)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        request = {"request": True, "id": number, "method": method, "data": data or {}}
        await self._socket.send_str(json.dumps(request))
        return await answer

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for frame in socket:
            if frame.type != aiohttp.WSMsgType.TEXT:
                continue
            message = json.loads(frame.data)
            if message.get("request"):
                granted = {"response": True, "id": message["id"], "ok": True, "data": {}}
                await socket.send_str(json.dumps(granted))
            elif message.get("response"):
                answer = self._asked.pop(message["id"])
                if message.get("ok"):
                    answer.set_result(message["data"])
                else:
                    answer.set_exception(ConnectionError(message.get("errorReason")))

    async def _keep(self) -> None:
        """Reports, at the times that libwebrtc has for them."""
        while True:
            await asyncio.sleep(_REPORT_EVERY * (0.5 + secrets.randbelow(1000) / 1000))
            if self.link.outbound:
                self._report()
