/** Adds up what has come of one voice, whatever connections and tracks it came on. Pure. */

import type { Received } from "./types";

/** The reports of a getStats, by id. */
type Stats = Iterable<readonly [string, unknown]>;

const NOTHING: Received = { packets: 0, bytes: 0 };

export class Tally {
  /** The last reading of each stream, by its SSRC: the report's id may be used again. */
  readonly #last = new Map<number, Received>();
  #total: Received | null = null;

  /** Null until a first stream was seen. */
  get total(): Received | null {
    return this.#total;
  }

  /** Take in what a connection, or a receiver of this voice, counts now. */
  count(stats: Stats): void {
    for (const [, report] of stats) {
      if (isVoice(report)) this.#add(report);
    }
  }

  #add({ ssrc, packetsReceived: packets, bytesReceived: bytes }: InboundVoice): void {
    const last = this.#last.get(ssrc) ?? NOTHING;
    // Fewer than before: the counters began anew with a new stream.
    const since = packets < last.packets ? NOTHING : last;
    const total = this.#total ?? NOTHING;
    this.#last.set(ssrc, { packets, bytes });
    this.#total = {
      packets: total.packets + packets - since.packets,
      bytes: total.bytes + bytes - since.bytes,
    };
  }
}

/** One tally for each participant, over all their stays. */
export class Tallies {
  readonly #tallies = new Map<string, Tally>();

  of(identity: string): Tally {
    const tally = this.#tallies.get(identity) ?? new Tally();
    this.#tallies.set(identity, tally);
    return tally;
  }
}

interface InboundVoice {
  readonly ssrc: number;
  readonly packetsReceived: number;
  readonly bytesReceived: number;
}

function isVoice(report: unknown): report is InboundVoice {
  const { type, kind, packetsReceived } = report as Partial<RTCInboundRtpStreamStats>;
  return type === "inbound-rtp" && kind === "audio" && packetsReceived !== undefined;
}
