/** How good the way to somebody is, from their connection's getStats; what a person can hear of it. */

import type { Stats } from "./transport/vitals";

export type QualityLevel = "good" | "weak" | "poor";

/** What was measured over the last seconds; null where nothing came to measure. */
export interface Quality {
  readonly level: QualityLevel;
  /** Of the packets that should have come, and of ours as the other end counts them: 0..1. */
  readonly loss: number | null;
  readonly sentLoss: number | null;
  /** There and back, milliseconds. */
  readonly roundTripMs: number | null;
  /** RFC 3550, 6.4.1, milliseconds. */
  readonly jitterMs: number | null;
  readonly path: "direct" | "relay" | null;
}

/** A loss is looked at over so long, so that one packet does not make a bad second. */
const WINDOW_MS = 6_000;
/** Fewer packets than these say nothing about loss. */
const MIN_PACKETS = 50;
/** From these values on it is weak, and poor: what Opus still hides, what conversation bears. */
const LOSS = [0.03, 0.1] as const;
const ROUND_TRIP_MS = [300, 700] as const;
const JITTER_MS = [40, 100] as const;

/** Counters of one look. */
interface Reading {
  readonly at: number;
  /** By SSRC. */
  readonly streams: ReadonlyMap<number, { readonly received: number; readonly lost: number }>;
}

/** The way between us and one other participant. Pure; times are milliseconds. */
export class QualityGauge {
  #readings: readonly Reading[] = [];

  /** `stats` are of all that carries their voice; null until something can be said. */
  look(stats: readonly Stats[], now: number): Quality | null {
    const reports = stats.flatMap((each) => [...each].map(([, report]) => report as Report));
    const pair = selectedPair(reports);
    if (pair === null) {
      this.#readings = [];
      return null;
    }
    const values = {
      loss: this.#loss(read(reports, now)),
      sentLoss: largest(reports, "remote-inbound-rtp", "fractionLost"),
      roundTripMs: milliseconds(pair.currentRoundTripTime),
      jitterMs: milliseconds(largest(reports, "inbound-rtp", "jitter")),
    };
    return { ...values, level: levelOf(values), path: pathOf(pair, reports) };
  }

  /** Of the streams that were there at the beginning of the window, too. */
  #loss(reading: Reading): number | null {
    const begin = this.#readings.findLast(({ at }) => reading.at - at >= WINDOW_MS) ?? this.#readings[0];
    const kept = this.#readings.filter(({ at }) => begin === undefined || at >= begin.at);
    this.#readings = [...kept, reading];
    let [received, lost] = [0, 0];
    for (const [ssrc, now] of reading.streams) {
      const before = begin?.streams.get(ssrc);
      if (before === undefined || now.received < before.received) continue;
      received += now.received - before.received;
      lost += now.lost - before.lost; // falls when late packets come after all
    }
    const expected = received + Math.max(0, lost);
    return expected < MIN_PACKETS ? null : Math.max(0, lost) / expected;
  }
}

type Values = Pick<Quality, "loss" | "sentLoss" | "roundTripMs" | "jitterMs">;

/** As good as its worst part. */
function levelOf({ loss, sentLoss, roundTripMs, jitterMs }: Values): QualityLevel {
  const grades = [
    grade(loss, LOSS),
    grade(sentLoss, LOSS),
    grade(roundTripMs, ROUND_TRIP_MS),
    grade(jitterMs, JITTER_MS),
  ];
  return (["good", "weak", "poor"] as const)[Math.max(...grades)] ?? "poor";
}

function grade(value: number | null, [weak, poor]: readonly [number, number]): 0 | 1 | 2 {
  if (value === null || value < weak) return 0;
  return value < poor ? 1 : 2;
}

/** What we read of any report. */
interface Report {
  readonly id: string;
  readonly type: string;
  readonly kind?: string;
  readonly ssrc?: number;
  readonly packetsReceived?: number;
  readonly packetsLost?: number;
  readonly jitter?: number;
  readonly fractionLost?: number;
  readonly selectedCandidatePairId?: string;
  readonly currentRoundTripTime?: number;
  readonly localCandidateId?: string;
  readonly remoteCandidateId?: string;
  readonly nominated?: boolean;
  readonly state?: string;
  readonly candidateType?: string;
}

function read(reports: readonly Report[], at: number): Reading {
  const streams = reports
    .filter(({ type, kind }) => type === "inbound-rtp" && kind === "audio")
    .map(({ ssrc = 0, packetsReceived: received = 0, packetsLost: lost = 0 }) => {
      return [ssrc, { received, lost }] as const;
    });
  return { at, streams: new Map(streams) };
}

function selectedPair(reports: readonly Report[]): Report | null {
  const pairs = reports.filter(({ type }) => type === "candidate-pair");
  const selected = reports.find(({ type }) => type === "transport")?.selectedCandidatePairId;
  const isUsed = ({ id, nominated, state }: Report) =>
    selected === undefined ? nominated === true && state === "succeeded" : id === selected;
  return pairs.find(isUsed) ?? null;
}

function pathOf(pair: Report, reports: readonly Report[]): "direct" | "relay" | null {
  const ends = [pair.localCandidateId, pair.remoteCandidateId];
  const types = reports.filter(({ id }) => ends.includes(id)).map(({ candidateType }) => candidateType);
  if (types.includes("relay")) return "relay";
  return types.length === 0 ? null : "direct";
}

function largest(reports: readonly Report[], type: string, key: "fractionLost" | "jitter"): number | null {
  const values = reports.flatMap((report) => (report.type === type ? (report[key] ?? []) : []));
  return values.length === 0 ? null : Math.max(...values);
}

function milliseconds(seconds: number | null | undefined): number | null {
  return seconds === null || seconds === undefined ? null : seconds * 1000;
}
