/**
 * Whether the path of a connection works, from two looks at its getStats a second apart: browsers
 * say `disconnected` only after five seconds or more. Pure; times are milliseconds.
 */

/** Both ends send STUN at least every 2.5 s, and far more often once nothing comes. */
const LOST_AFTER_MS = 3_500;
/** After a hint (the network changed, we slept) silence is believed sooner. */
const SUSPECT_LOST_AFTER_MS = 1_200;
/** Looks are a second apart; a later one found a page that stood still. */
const STALLED_AFTER_MS = 2_500;

/** The reports of a getStats, by id. */
export type Stats = Iterable<readonly [string, unknown]>;

export class Vitals {
  /** Packets of our voice that left on this connection. */
  packetsSent = 0;
  #heardAt: number;
  #lookedAt: number;
  #suspectedAt: number | null = null;
  #signs = 0;

  /** The connection is there. */
  constructor(now: number) {
    this.#heardAt = now;
    this.#lookedAt = now;
  }

  /** When the peer last gave a sign of life, as far as was looked. */
  get heardAt(): number {
    return this.#heardAt;
  }

  /** What comes from now on decides whether the path still works. */
  suspect(now: number): void {
    this.#suspectedAt = now;
  }

  look(stats: Stats, now: number): void {
    if (now - this.#lookedAt > STALLED_AFTER_MS) {
      this.#heardAt = now;
      this.suspect(now);
    }
    this.#lookedAt = now;
    const { signs, sent } = read(stats);
    this.packetsSent = sent;
    if (signs === this.#signs) return;
    this.#signs = signs;
    this.#heardAt = now;
    this.#suspectedAt = null;
  }

  isLost(now: number): boolean {
    if (now - this.#heardAt >= LOST_AFTER_MS) return true;
    return this.#suspectedAt !== null && now - this.#suspectedAt >= SUSPECT_LOST_AFTER_MS;
  }
}

/** Everything that comes is counted by one of these: media and data, STUN, and what answers it. */
function read(stats: Stats): { signs: number; sent: number } {
  let signs = 0;
  let sent = 0;
  for (const [, report] of stats) {
    const { type } = report as { type?: string };
    if (type === "transport") signs += (report as { packetsReceived?: number }).packetsReceived ?? 0;
    else if (type === "candidate-pair") {
      const { requestsReceived = 0, responsesReceived = 0 } = report as Partial<RTCIceCandidatePairStats>;
      signs += requestsReceived + responsesReceived;
    } else if (type === "outbound-rtp") {
      sent += (report as Partial<RTCOutboundRtpStreamStats>).packetsSent ?? 0;
    }
  }
  return { signs, sent };
}
