/** What is measured and drawn of a call: rates, packets, places, and what N people would cost. */

import { describe, expect, it } from "vitest";

import golden from "../../tests/golden/costs.json";
import { chartOf, otherEnd, SFU, WIDTH } from "../src/anatomy/chart";
import { PacketGauge } from "../src/anatomy/packets";
import { costOf } from "../src/anatomy/theory";
import { TrafficGauge } from "../src/anatomy/traffic";
import type { Stats } from "../src/transport/vitals";

function stats(...reports: object[]): Stats {
  return reports.map((report, index) => [`R${index}`, report] as const);
}

describe("traffic", () => {
  const outbound = (timestamp: number, packetsSent: number, ssrc = 1) => {
    const [bytesSent, headerBytesSent] = [packetsSent * 80, packetsSent * 20];
    return { type: "outbound-rtp", kind: "audio", timestamp, ssrc, packetsSent, bytesSent, headerBytesSent };
  };
  const inbound = (timestamp: number, packetsReceived: number, ssrc = 2) => {
    const [bytesReceived, headerBytesReceived] = [packetsReceived * 60, packetsReceived * 20];
    const rest = { packetsReceived, bytesReceived, headerBytesReceived };
    return { type: "inbound-rtp", kind: "audio", timestamp, ssrc, ...rest };
  };

  it("is what two looks differ by, each way, with headers", () => {
    const gauge = new TrafficGauge();
    expect(gauge.look([stats(outbound(1_000, 100), inbound(1_000, 10))])).toBeNull();
    expect(gauge.look([stats(outbound(3_000, 200), inbound(3_000, 30))])).toEqual({
      up: { bitRate: 40_000, packetRate: 50, packets: 200 },
      down: { bitRate: 6_400, packetRate: 10, packets: 30 },
    });
  });

  it("adds up the streams of several connections, and begins anew where a counter does", () => {
    const gauge = new TrafficGauge();
    gauge.look([stats(inbound(0, 500, 1)), stats(outbound(0, 5))]);
    const later = [stats(inbound(1_000, 20, 1), inbound(1_000, 7, 3)), stats(outbound(1_000, 5))];
    expect(gauge.look(later)).toMatchObject({ up: { packetRate: 0 }, down: { packetRate: 27, packets: 27 } });
  });

  it("is nothing new when the browser answers from its cache", () => {
    const gauge = new TrafficGauge();
    gauge.look([stats(inbound(500, 1))]);
    expect(gauge.look([stats(inbound(500, 1))])).toBeNull();
  });
});

describe("packets", () => {
  const voice = (packetsReceived: number, size = 80, more: object = {}) =>
    stats({ type: "inbound-rtp", kind: "audio", ssrc: 1, packetsReceived, bytesReceived: packetsReceived * size, ...more });

  it("are numbered as the receiver counts them, with the mean size of those between two looks", () => {
    const gauge = new PacketGauge();
    gauge.look([voice(10)], 0);
    const { packets } = gauge.look([stats({ type: "inbound-rtp", kind: "audio", packetsReceived: 13, bytesReceived: 1_100 })], 60);
    expect(packets).toEqual([11, 12, 13].map((number) => ({ number, bytes: 100 })));
  });

  it("tell rate, length and delay from the last second alone", () => {
    const gauge = new PacketGauge();
    let reading = gauge.look([voice(0)], 0);
    for (let n = 1; n <= 40; n += 1) {
      const emitted = { jitterBufferEmittedCount: n * 3 * 960, jitterBufferDelay: n * 3 * 960 * 0.05 };
      reading = gauge.look([voice(n * 3, 80, emitted)], n * 60);
    }
    expect(reading).toMatchObject({ count: 120, bytes: 9_600, packetRate: 50, packetMs: 20 });
    expect(reading.bitRate).toBeCloseTo(32_000);
    expect(reading.heldMs).toBeCloseTo(50);
  });

  it("keep their length when a pause empties the buffer", () => {
    const gauge = new PacketGauge();
    const look = (n: number, packets: number) =>
      gauge.look([voice(packets, 80, { jitterBufferEmittedCount: n * 3 * 960, jitterBufferDelay: 0 })], n * 60);
    for (let n = 0; n <= 40; n += 1) look(n, n * 3);
    for (let n = 41; n <= 48; n += 1) expect(look(n, 120).packetMs).toBe(20);
  });

  it("say nothing of length before enough came, and stay on the strip in silence", () => {
    const gauge = new PacketGauge();
    gauge.look([voice(0)], 0);
    expect(gauge.look([voice(3)], 60).packetMs).toBeNull();
    const later = gauge.look([voice(3)], 5_000);
    expect([later.packetRate, later.bitRate, later.packets.length]).toEqual([0, 0, 3]);
  });

  it("do not run backwards when a whisper's track goes", () => {
    const gauge = new PacketGauge();
    gauge.look([voice(100), voice(50)], 0);
    const reading = gauge.look([voice(100)], 60);
    expect([reading.packetRate, reading.bitRate, reading.packets.length]).toEqual([0, 0, 0]);
  });
});

describe("the picture", () => {
  const cast = { identities: ["me", "mulisa", "bob", "carol"], local: "me", agent: "mulisa" };

  it("of a mesh has a line for each pair, of which N are one's own and N the agent's", () => {
    const { edges, places } = chartOf("mesh", cast);
    const pairs = new Set(edges.map(({ from, to }) => [from, to].sort().join()));
    expect([edges.length, pairs.size, places.length]).toEqual([6, 6, 4]);
    expect(edges.filter(({ isOwn }) => isOwn).map((edge) => otherEnd(edge, "me"))).toEqual(["mulisa", "bob", "carol"]);
    expect(edges.filter(({ isAgents }) => isAgents)).toHaveLength(3);
  });

  it("of an SFU has one line for each, to the middle", () => {
    const { edges, places } = chartOf("sfu", cast);
    expect(edges.map(({ from, to }) => [from, to])).toEqual(cast.identities.map((each) => [each, SFU]));
    expect([edges.filter(({ isOwn }) => isOwn).length, edges.filter(({ isAgents }) => isAgents).length]).toEqual([1, 1]);
    const [middle, me] = [places.at(-1), places.at(0)];
    expect([middle?.id, middle?.x, me?.id, me?.x]).toEqual([SFU, WIDTH / 2, "me", WIDTH / 2]);
  });

  it("has oneself at the bottom, the agent opposite, and everybody inside and apart", () => {
    for (const topology of ["mesh", "sfu"] as const) {
      const { places, height } = chartOf(topology, cast);
      const [me, mulisa] = ["me", "mulisa"].map((id) => places.find((place) => place.id === id));
      expect([me?.y, mulisa?.y]).toEqual([Math.max(...places.map(({ y }) => y)), Math.min(...places.map(({ y }) => y))]);
      expect(places.every(({ x, y }) => x > 30 && x < WIDTH - 30 && y > 30 && y < height - 30)).toBe(true);
      expect(new Set(places.map(({ x, y }) => `${x.toFixed()} ${y.toFixed()}`)).size).toBe(places.length);
    }
  });

  it("is drawn for one who is alone", () => {
    expect(chartOf("mesh", { identities: ["me"], local: "me", agent: null }).edges).toEqual([]);
  });
});

describe("what N people cost", () => {
  it("is what the comparison calculates", () => {
    for (const { topology, people, ...cost } of golden.costs) {
      expect(costOf(topology as "mesh" | "sfu", people), `${topology} of ${people}`).toEqual(cost);
    }
    expect(golden.costs.length).toBeGreaterThan(10);
  });
});
