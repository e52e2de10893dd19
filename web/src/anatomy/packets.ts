/**
 * A voice as packets, from its inbound-rtp counters at short intervals: how many, how large, of
 * how many milliseconds each. Pure; times are milliseconds.
 */

import type { Stats } from "../transport/vitals";

/** One packet of RTP as it came. */
export interface Packet {
  /** Counted by the receiver from the beginning of the stream. */
  readonly number: number;
  /** Of its payload: the mean of those that came between two looks, which are two or three. */
  readonly bytes: number;
}

/** The last second of a voice. */
export interface VoiceReading {
  /** Oldest first. */
  readonly packets: readonly Packet[];
  /** So far. */
  readonly count: number;
  readonly bytes: number;
  readonly lost: number;
  /** Payload alone, bits per second. */
  readonly bitRate: number;
  readonly packetRate: number;
  /** How much sound a packet holds; null until enough came. */
  readonly packetMs: number | null;
  /** How long a packet waits at the listener, so that it plays evenly; null until known. */
  readonly heldMs: number | null;
}

/** So many are kept: a second and a half of 20 ms packets. */
const KEPT = 72;
const WINDOW_MS = 1_000;
/** Opus frames, RFC 6716, 2.1.4, and packets of several (RFC 7587, 4.2). */
const PACKET_MS = [2.5, 5, 10, 20, 40, 60, 80, 100, 120] as const;
const SAMPLES_PER_MS = 48;
/** A packet more or less at the edges of a window says nothing about their length. */
const MIN_PACKETS = 20;

interface Inbound {
  readonly type?: string;
  readonly kind?: string;
  readonly ssrc?: number;
  readonly packetsReceived?: number;
  readonly packetsLost?: number;
  readonly bytesReceived?: number;
  readonly jitterBufferDelay?: number;
  readonly jitterBufferEmittedCount?: number;
}

/** Sums over the streams that carry the voice: an agent has one for all, and one per whisper. */
interface Sums {
  readonly at: number;
  readonly packets: number;
  readonly bytes: number;
  readonly lost: number;
  readonly emitted: number;
  readonly delay: number;
}

export class PacketGauge {
  #packets: readonly Packet[] = [];
  #sums: readonly Sums[] = [];
  /** How many looks say so of the length: where a pause begins or ends the buffer misleads some. */
  readonly #votes = new Map<number, number>();
  #heldMs: number | null = null;

  /** `stats` are of all that carries the voice; to be called many times a second. */
  look(stats: readonly Stats[], now: number): VoiceReading {
    const sums = sum(stats, now);
    const last = this.#sums.at(-1);
    // A stream that went takes its counters along, and what came cannot be told from them.
    if (last !== undefined && sums.packets < last.packets) this.#sums = [];
    else if (last !== undefined) this.#append(last, sums);
    const begin = this.#sums.findLast(({ at }) => now - at >= WINDOW_MS) ?? this.#sums[0];
    this.#sums = [...this.#sums.filter(({ at }) => begin !== undefined && at >= begin.at), sums];
    return this.#read(begin ?? sums, sums);
  }

  #append(last: Sums, { packets, bytes }: Sums): void {
    const count = packets - last.packets;
    const size = Math.round((bytes - last.bytes) / count);
    const came = Array.from({ length: Math.min(count, KEPT) }, (_, index) => {
      return { number: packets - Math.min(count, KEPT) + index + 1, bytes: size };
    });
    this.#packets = [...this.#packets, ...came].slice(-KEPT);
  }

  #read(begin: Sums, now: Sums): VoiceReading {
    const seconds = (now.at - begin.at) / 1000;
    const count = now.packets - begin.packets;
    const emitted = now.emitted - begin.emitted;
    if (count >= MIN_PACKETS && emitted > 0) {
      const packetMs = nearest(emitted / SAMPLES_PER_MS / count);
      this.#votes.set(packetMs, (this.#votes.get(packetMs) ?? 0) + 1);
      this.#heldMs = (1000 * (now.delay - begin.delay)) / emitted;
    }
    return {
      packets: this.#packets,
      count: now.packets,
      bytes: now.bytes,
      lost: now.lost,
      bitRate: seconds > 0 ? (8 * (now.bytes - begin.bytes)) / seconds : 0,
      packetRate: seconds > 0 ? count / seconds : 0,
      packetMs: this.#elected(),
      heldMs: this.#heldMs,
    };
  }

  #elected(): number | null {
    const most = Math.max(...this.#votes.values());
    return [...this.#votes].find(([, votes]) => votes === most)?.[0] ?? null;
  }
}

function sum(stats: readonly Stats[], at: number): Sums {
  const inbound = stats
    .flatMap((each) => [...each].map(([, report]) => report as Inbound))
    .filter(({ type, kind }) => type === "inbound-rtp" && kind === "audio");
  const of = (value: (report: Inbound) => number | undefined) =>
    inbound.reduce((total, report) => total + (value(report) ?? 0), 0);
  return {
    at,
    packets: of((report) => report.packetsReceived),
    bytes: of((report) => report.bytesReceived),
    lost: of((report) => report.packetsLost),
    emitted: of((report) => report.jitterBufferEmittedCount),
    delay: of((report) => report.jitterBufferDelay),
  };
}

function nearest(ms: number): number {
  return PACKET_MS.reduce((best, each) => {
    return Math.abs(Math.log(each / ms)) < Math.abs(Math.log(best / ms)) ? each : best;
  });
}
