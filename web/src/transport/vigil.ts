/**
 * Who has lost the gateway, or was forgotten by it, and may still be here (docs/protocol.md, "A
 * lost socket"). Pure; times are milliseconds on one monotonic clock.
 */

/** Packets that came within this are a sign of life. */
const FRESH_MS = 2_000;
const WITNESS_INTERVAL_MS = 1_500;
/** Without a packet, until who did not come back is gone. */
const EXPECTED_FOR_MS = 4_500;

export interface Findings {
  /** Detached, and to be witnessed now. */
  readonly alive: readonly string[];
  /** Expected no longer. */
  readonly gone: readonly string[];
}

export class Vigil {
  /** Who is detached, and when we last said that they live. */
  readonly #witnessed = new Map<string, number>();
  /** Who is not back, and since when we wait. */
  readonly #expected = new Map<string, number>();

  detached(sid: string): void {
    if (!this.#witnessed.has(sid)) this.#witnessed.set(sid, -Infinity);
  }

  /** The gateway has forgotten everybody, and these are not back. */
  expect(sids: Iterable<string>, now: number): void {
    this.clear();
    for (const sid of sids) this.#expected.set(sid, now);
  }

  /** They are back, or gone. */
  settled(sid: string): void {
    this.#witnessed.delete(sid);
    this.#expected.delete(sid);
  }

  clear(): void {
    this.#witnessed.clear();
    this.#expected.clear();
  }

  /** `heardAt` says when the last packet of each came, -Infinity if never. */
  look(heardAt: (sid: string) => number, now: number): Findings {
    const alive = [...this.#witnessed].filter(
      ([sid, at]) => now - heardAt(sid) <= FRESH_MS && now - at >= WITNESS_INTERVAL_MS,
    );
    for (const [sid] of alive) this.#witnessed.set(sid, now);
    const gone = [...this.#expected].filter(
      ([sid, since]) => now - Math.max(since, heardAt(sid)) >= EXPECTED_FOR_MS,
    );
    for (const [sid] of gone) this.#expected.delete(sid);
    return { alive: alive.map(([sid]) => sid), gone: gone.map(([sid]) => sid) };
  }
}
