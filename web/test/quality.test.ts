import { beforeEach, describe, expect, it, vi } from "vitest";

import { type Quality, QualityGauge } from "../src/quality";
import { Survey } from "../src/survey";
import type { Stats } from "../src/transport/vitals";

interface Way {
  received?: number;
  lost?: number;
  ssrc?: number;
  jitter?: number;
  roundTrip?: number;
  sentLoss?: number;
  local?: string;
  remote?: string;
}

/** A getStats as Chromium gives it. */
function stats(way: Way = {}): Stats {
  const { received = 0, lost = 0, ssrc = 1, jitter = 0.004, roundTrip = 0.02 } = way;
  const { sentLoss = 0, local = "host", remote = "srflx" } = way;
  const reports = [
    { id: "T", type: "transport", selectedCandidatePairId: "P" },
    { id: "Q", type: "candidate-pair", currentRoundTripTime: 9, localCandidateId: "L", state: "failed" },
    { id: "P", type: "candidate-pair", currentRoundTripTime: roundTrip, localCandidateId: "L", remoteCandidateId: "R" },
    { id: "L", type: "local-candidate", candidateType: local },
    { id: "R", type: "remote-candidate", candidateType: remote },
    { id: "I", type: "inbound-rtp", kind: "audio", ssrc, packetsReceived: received, packetsLost: lost, jitter },
    { id: "F", type: "remote-inbound-rtp", fractionLost: sentLoss },
  ];
  return new Map(reports.map((report) => [report.id, report]));
}

let gauge: QualityGauge;

beforeEach(() => {
  gauge = new QualityGauge();
});

/** The last of several looks, two seconds apart. */
function look(...ways: Way[]): Quality {
  const found = ways.map((way, index) => gauge.look([stats(way)], index * 2_000)).at(-1);
  if (found === null || found === undefined) throw new Error("nothing can be said");
  return found;
}

describe("the way to somebody", () => {
  it("is unknown without a path", () => {
    expect(gauge.look([], 0)).toBeNull();
    expect(gauge.look([new Map()], 0)).toBeNull();
  });

  it("is good, and direct", () => {
    const found = look({ received: 0 }, { received: 100 });
    expect(found).toMatchObject({ level: "good", loss: 0, sentLoss: 0, path: "direct" });
    expect(found.roundTripMs).toBeCloseTo(20);
    expect(found.jitterMs).toBeCloseTo(4);
  });

  it.each([
    [{ lost: 2 }, "good"],
    [{ lost: 5 }, "weak"],
    [{ lost: 15 }, "poor"],
    [{ sentLoss: 0.05 }, "weak"],
    [{ sentLoss: 0.2 }, "poor"],
    [{ roundTrip: 0.4 }, "weak"],
    [{ roundTrip: 0.9 }, "poor"],
    [{ jitter: 0.06 }, "weak"],
    [{ jitter: 0.2 }, "poor"],
  ] satisfies [Way, string][])("%o is %s", (way, level) => {
    expect(look({}, { received: 95, ...way }).level).toBe(level);
  });

  it.each([
    [{ local: "relay" }, "relay"],
    [{ remote: "relay" }, "relay"],
    [{ local: "prflx" }, "direct"],
  ] satisfies [Way, string][])("%o is %s", (way, path) => {
    expect(look(way).path).toBe(path);
  });

  it("forgets a loss after some seconds", () => {
    const ways = [0, 1, 2, 3, 4, 5].map((n) => ({ received: n * 90, lost: n === 0 ? 0 : 10 }));
    expect(look(...ways.slice(0, 2)).level).toBe("poor");
    gauge = new QualityGauge();
    expect(look(...ways)).toMatchObject({ level: "good", loss: 0 });
  });

  it("says nothing of loss where hardly anything is sent", () => {
    expect(look({}, { received: 3, lost: 3 })).toMatchObject({ level: "good", loss: null });
  });

  it("is not worse for packets that came late, nor for a stream that began anew", () => {
    expect(look({ lost: 8 }, { received: 100, lost: 0 }).loss).toBe(0);
    gauge = new QualityGauge();
    expect(look({ received: 500, lost: 0 }, { received: 60, lost: 30 }).loss).toBeNull();
    gauge = new QualityGauge();
    expect(look({ received: 500 }, { ssrc: 2, received: 500, lost: 400 }).loss).toBeNull();
  });
});

describe("a survey", () => {
  it("looks every other second, and at who can be looked at", async () => {
    const voiceStats = vi.fn((identity: string) =>
      identity === "bob" ? Promise.resolve([stats()]) : Promise.reject(new Error("closing")),
    );
    const survey = new Survey({ voiceStats });
    expect([...((await survey.tick(["bob", "carol"], 0)) ?? []).keys()]).toEqual(["bob"]);
    expect(await survey.tick(["bob"], 1_900)).toBeNull();
    expect((await survey.tick(["bob"], 2_000))?.get("bob")?.level).toBe("good");
  });
});
