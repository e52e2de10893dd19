/** What goes over a connection now, each way: rates from two looks at its getStats. Pure. */

import type { Stats } from "../transport/vitals";

/** One direction of voice. */
export interface Flow {
  /** RTP with its headers, without what UDP, IP and encryption add; bits per second. */
  readonly bitRate: number;
  /** Packets per second. */
  readonly packetRate: number;
  /** Packets so far. */
  readonly packets: number;
}

export interface Traffic {
  readonly up: Flow;
  readonly down: Flow;
}

/** What we read of a stream of RTP, in either direction. */
interface Counted {
  readonly type?: string;
  readonly kind?: string;
  readonly ssrc?: number;
  readonly timestamp?: number;
  readonly packetsSent?: number;
  readonly bytesSent?: number;
  readonly headerBytesSent?: number;
  readonly packetsReceived?: number;
  readonly bytesReceived?: number;
  readonly headerBytesReceived?: number;
}

interface Count {
  readonly packets: number;
  readonly bytes: number;
}

type Direction = "inbound-rtp" | "outbound-rtp";

/** Counters of one look, by SSRC, and when it was; milliseconds. */
interface Look {
  readonly at: number;
  readonly up: ReadonlyMap<number, Count>;
  readonly down: ReadonlyMap<number, Count>;
}

const NOTHING: Count = { packets: 0, bytes: 0 };

export class TrafficGauge {
  #last: Look | null = null;

  /** `stats` are of all that makes up this connection; null until two looks were taken. */
  look(stats: readonly Stats[]): Traffic | null {
    const reports = stats.flatMap((each) => [...each].map(([, report]) => report as Counted));
    const at = Math.max(0, ...reports.map(({ timestamp = 0 }) => timestamp));
    const now = { at, up: countsOf(reports, "outbound-rtp"), down: countsOf(reports, "inbound-rtp") };
    const before = this.#last;
    this.#last = now;
    const seconds = before === null ? 0 : (now.at - before.at) / 1000;
    if (before === null || seconds <= 0) return null;
    return { up: flow(before.up, now.up, seconds), down: flow(before.down, now.down, seconds) };
  }
}

function countsOf(reports: readonly Counted[], direction: Direction): Map<number, Count> {
  const counts = new Map<number, Count>();
  for (const report of reports) {
    if (report.type !== direction || report.kind !== "audio") continue;
    counts.set(report.ssrc ?? 0, direction === "inbound-rtp" ? received(report) : sent(report));
  }
  return counts;
}

function received({ packetsReceived = 0, bytesReceived = 0, headerBytesReceived = 0 }: Counted): Count {
  return { packets: packetsReceived, bytes: bytesReceived + headerBytesReceived };
}

function sent({ packetsSent = 0, bytesSent = 0, headerBytesSent = 0 }: Counted): Count {
  return { packets: packetsSent, bytes: bytesSent + headerBytesSent };
}

function flow(before: ReadonlyMap<number, Count>, now: ReadonlyMap<number, Count>, seconds: number): Flow {
  let [packets, packetsSince, bytesSince] = [0, 0, 0];
  for (const [ssrc, count] of now) {
    // One that is new, or began anew, sent all of this since we looked.
    const known = before.get(ssrc) ?? NOTHING;
    const last = count.packets < known.packets ? NOTHING : known;
    packets += count.packets;
    packetsSince += count.packets - last.packets;
    bytesSince += count.bytes - last.bytes;
  }
  return { bitRate: (8 * bytesSince) / seconds, packetRate: packetsSince / seconds, packets };
}
