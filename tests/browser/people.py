"""People in real browsers: each a page with a microphone of its own and an ear that records.

One Chromium has one fake microphone for all its pages, so a page's `getUserMedia` is given a
track made by WebAudio instead; what is played into it is what the person says.
"""

from __future__ import annotations

import base64
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import numpy as np
from playwright.async_api import Browser, BrowserContext, Page

from mulisa.compare.browser import WaitedInVain as WaitedInVain
from mulisa.compare.browser import browser_at as browser_at
from mulisa.compare.browser import until as until
from mulisa.core.audio import SAMPLE_RATE_HZ, Samples

PATIENCE_MS = 60_000
"""How long any one thing may take; nothing is measured by it."""

EAR = """
(() => {
  const context = new AudioContext({sampleRate: 48000});
  const recorders = new Map();
  window.person = {
    record: async (identity) => {
      await context.resume();
      const audio = document.querySelector(`audio[data-identity="${identity}"]`);
      const source = context.createMediaStreamSource(audio.srcObject);
      const tap = context.createScriptProcessor(4096, 1, 1);
      const pieces = [];
      const recorder = {source, tap, pieces, loudAt: context.currentTime};
      tap.onaudioprocess = (event) => {
        const input = event.inputBuffer.getChannelData(0);
        if (input.some((v) => Math.abs(v) > 0.003)) recorder.loudAt = context.currentTime;
        pieces.push(Int16Array.from(input, (v) => Math.max(-1, Math.min(1, v)) * 32767));
      };
      source.connect(tap);
      tap.connect(context.destination);
      recorders.set(identity, recorder);
    },
    silentFor: (identity) => context.currentTime - recorders.get(identity).loudAt,
    recorded: (identity) => {
      const {source, tap, pieces} = recorders.get(identity);
      source.disconnect();
      tap.disconnect();
      recorders.delete(identity);
      let text = "";
      for (const piece of pieces) {
        for (const byte of new Uint8Array(piece.buffer)) text += String.fromCharCode(byte);
      }
      return btoa(text);
    },
    fresh: async (connection) => {
      const asked = performance.timeOrigin + performance.now();
      for (;;) {
        const stats = [...(await connection.getStats()).values()];
        const now = stats.find(({type}) => type === "peer-connection").timestamp;
        if (now >= asked) return stats;
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    },
    packetsOf: async (identity) => {
      const {connections} = window.mulisa;
      const connection = connections[identity] ?? connections.subscriber;
      if (connection !== undefined) await window.person.fresh(connection);
      return (await window.mulisa.received(identity))?.packets ?? 0;
    },
    sentTo: async (name) => {
      let packets = 0;
      for (const report of await window.person.fresh(window.mulisa.connections[name])) {
        if (report.type === "outbound-rtp") packets += report.packetsSent;
      }
      return packets;
    },
    streams: async () => {
      let count = 0;
      for (const connection of new Set(Object.values(window.mulisa.connections))) {
        for (const report of await window.person.fresh(connection)) {
          if (report.type === "inbound-rtp" && report.packetsReceived > 0) count++;
        }
      }
      return count;
    },
    localCandidates: async () => {
      const types = [];
      for (const connection of new Set(Object.values(window.mulisa.connections))) {
        const stats = await connection.getStats();
        for (const report of stats.values()) {
          if (report.type !== "transport" || !report.selectedCandidatePairId) continue;
          const pair = stats.get(report.selectedCandidatePairId);
          types.push(stats.get(pair.localCandidateId).candidateType);
        }
      }
      return types;
    },
  };
})();
"""
"""Records what is heard of a participant, as `window.person`."""

SILENCE = 0.7
"""Seconds after which who was recorded has ended; words are on the page before they are heard."""
MAX_ATTEMPTS = 3
ANSWER_TIME = 20.0
"""Seconds after which a person asks again."""

MICROPHONE = """
(() => {
  const context = new AudioContext({sampleRate: 48000});
  const microphone = context.createMediaStreamDestination();
  const silence = context.createConstantSource();
  silence.offset.value = 0;
  silence.connect(microphone);
  silence.start();
  navigator.mediaDevices.getUserMedia = async () => {
    await context.resume();
    return new MediaStream(microphone.stream.getAudioTracks().map((track) => track.clone()));
  };
  const pcm = (base64) => {
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    return Float32Array.from(new Int16Array(bytes.buffer), (v) => v / 32768);
  };
  window.person.say = (base64) => new Promise((resolve) => {
    const samples = pcm(base64);
    const buffer = context.createBuffer(1, samples.length, 48000);
    buffer.copyToChannel(samples, 0);
    const source = context.createBufferSource();
    source.buffer = buffer;
    source.connect(microphone);
    source.onended = resolve;
    source.start();
  });
})();
"""
"""Takes the place of `getUserMedia`, and adds `window.person.say`. Comes after `EAR`."""


@dataclass(frozen=True, slots=True)
class Line:
    """One caption as it stands on somebody's page."""

    name: str
    text: str
    """The words alone, as far as they were heard."""
    final: bool
    listener: str
    """Who alone it is for; empty: everybody."""


class Person:
    """Somebody with a browser."""

    def __init__(self, page: Page, name: str) -> None:
        self.page = page
        self.name = name

    async def enter(self, base_url: str, room: str, options: str = "") -> None:
        """Join and wait until one is in the room; `options` are added to the link."""
        await self.page.goto(f"{base_url}/r/{room}?name={self.name}&join=1{options}")
        await until(self.identity, bool, f"{self.name} to be in the room")

    async def sees(self, name: str, count: int = 1) -> None:
        """Wait until so many tiles bear this name."""
        tiles = self.page.locator(f'[data-testid="participant"][data-name="{name}"]')
        await until(lambda: tiles.count(), lambda found: found == count, f"{count} x {name}")

    async def mulisa_is(self, state: str) -> None:
        """Wait until Mulisa's state reads so."""
        shown = self.page.get_by_test_id("agent-state").first
        await until(
            lambda: _text(shown.text_content(timeout=PATIENCE_MS)),
            lambda text: text == state,
            f"Mulisa {state}",
        )

    async def say(self, speech: Samples) -> None:
        """Speak 48 kHz samples into the microphone; returns when they have been played."""
        await self.page.evaluate("(pcm) => window.person.say(pcm)", _encode(speech))

    async def record(self, identity: str = "mulisa") -> None:
        """Begin to record what one hears of a participant."""
        hearing = self.page.locator(f'audio[data-identity="{identity}"]')
        await hearing.wait_for(state="attached", timeout=PATIENCE_MS)
        await self.page.evaluate("(identity) => window.person.record(identity)", identity)

    async def recorded(self, identity: str = "mulisa") -> Samples:
        """End the recording once they have been silent for a while: int16, 48 kHz."""
        await until(
            lambda: self.page.evaluate("(who) => window.person.silentFor(who)", identity),
            lambda seconds: seconds > SILENCE,
            f"{identity} to be silent",
        )
        pcm = await self.page.evaluate("(identity) => window.person.recorded(identity)", identity)
        return np.frombuffer(base64.b64decode(pcm), dtype=np.int16)

    async def identity(self) -> str:
        """By which the others know this person; empty while they are not in the room."""
        found: str | None = await self.page.evaluate("window.mulisa.identity")
        return found or ""

    async def write(self, text: str) -> None:
        """Type a message to everybody."""
        field = self.page.get_by_test_id("chat-input")
        await field.fill(text)
        await field.press("Enter")

    async def packets_of(self, identity: str = "mulisa") -> int:
        """How many packets of somebody's voice have arrived by now, by getStats.

        Chromium answers from a cache of 50 ms, so it is asked until it has counted since.
        """
        script = "(identity) => window.person.packetsOf(identity)"
        received: int = await self.page.evaluate(script, identity)
        return received

    async def packets_to(self, connection: str) -> int:
        """How many packets of one's own voice have left on a connection by now, by getStats."""
        sent: int = await self.page.evaluate("(name) => window.person.sentTo(name)", connection)
        return sent

    async def streams(self) -> int:
        """On how many RTP streams voices have come so far, on all connections."""
        count: int = await self.page.evaluate("window.person.streams()")
        return count

    async def local_candidates(self) -> list[str]:
        """Type of the local candidate that each connection has selected."""
        types: list[str] = await self.page.evaluate("window.person.localCandidates()")
        return types

    async def hears_on(self, identity: str, more: int = 25) -> None:
        """Wait until so many more packets of somebody's voice have arrived."""
        before = await self.packets_of(identity)
        await until(
            lambda: self.packets_of(identity),
            lambda received: received > before + more,
            f"{self.name} to hear {identity}",
        )

    async def captions(self, name: str = "", final: bool = True) -> list[Line]:
        """Captions that are on the page now, of one person or of all."""
        rows = await self.page.get_by_test_id("caption").evaluate_all(
            """rows => rows.map(row => [
              row.dataset.name, row.querySelector(".words").textContent.trim(), row.dataset.final,
              row.dataset.listener ?? ""
            ])"""
        )
        lines = [Line(who, text, is_final == "true", to) for who, text, is_final, to in rows]
        return [x for x in lines if (not name or x.name == name) and (x.final or not final)]

    async def ask(self, question: Samples) -> None:
        """Speak to Mulisa until she has answered: who was misheard says it again."""
        before = len(await self.captions("Mulisa"))
        for attempt in range(1, MAX_ATTEMPTS + 1):
            await self.say(question)
            try:
                await until(
                    lambda: self.captions("Mulisa"),
                    lambda lines: len(lines) > before,
                    f"an answer; the page reads {await self.captions()}",
                    ANSWER_TIME,
                )
                return
            except WaitedInVain:
                if attempt == MAX_ATTEMPTS:
                    raise

    async def reads(self, name: str, *words: str, count: int = 1) -> str:
        """Wait until at least `count` final captions of `name` are there; the latest's text.

        It must hold one of `words`, if any are given.
        """

        wanted = [word.lower() for word in words]

        def matching(lines: list[Line]) -> list[Line]:
            return [x for x in lines if not wanted or any(w in x.text.lower() for w in wanted)]

        lines = await until(
            lambda: self.captions(name),
            lambda lines: len(matching(lines)) >= count,
            f"{count} captions of {name} with {words}",
        )
        return matching(lines)[-1].text


async def person_in(
    browser: Browser,
    name: str,
    *,
    has_microphone: bool = True,
    width: int = 1280,
    moves: bool = False,
) -> Person:
    """Somebody new, with a storage of their own and a microphone that is silent so far.

    Without one the page gets what the browser's own `getUserMedia` gives. `width` is that of the
    window in CSS pixels. Without `moves` the page does not move for show, which costs much where
    there is no GPU.
    """
    context: BrowserContext = await browser.new_context(
        viewport={"width": width, "height": 720},
        reduced_motion="no-preference" if moves else "reduce",
    )
    await context.add_init_script(EAR)
    if has_microphone:
        await context.add_init_script(MICROPHONE)
    page = await context.new_page()
    return Person(page, name)


def loudness(samples: Samples) -> float:
    """RMS in dBFS; -100 for silence."""
    if not len(samples):
        return -100.0
    rms = float(np.sqrt(np.mean(np.square(samples.astype(np.float64)))))
    return 20 * float(np.log10(max(rms / 32768, 1e-5)))


def longest_pause(samples: Samples, below_dbfs: float = -50.0) -> float:
    """Seconds of the longest silence."""
    frame = SAMPLE_RATE_HZ // 100
    longest = run = 0
    for start in range(0, len(samples) - frame, frame):
        run = run + 1 if loudness(samples[start : start + frame]) < below_dbfs else 0
        longest = max(longest, run)
    return longest / 100


async def _text(reading: Coroutine[Any, Any, str | None]) -> str:
    return ((await reading) or "").strip()


def _encode(samples: Samples) -> str:
    return base64.b64encode(samples.astype("<i2").tobytes()).decode()
