/** How good the way to everybody is, looked at every other second. */

import { type Quality, QualityGauge } from "./quality";
import type { Transport } from "./transport/types";

const INTERVAL_MS = 2_000;

export class Survey {
  readonly #transport: Pick<Transport, "voiceStats">;
  readonly #gauges = new Map<string, QualityGauge>();
  #lookedAt = -Infinity;
  #looking = false;

  constructor(transport: Pick<Transport, "voiceStats">) {
    this.#transport = transport;
  }

  /**
   * Every other second look at the ways to these; to be called more often than that. Returns what
   * can be said of whom, or null if it is not time. `now` is milliseconds.
   */
  async tick(identities: readonly string[], now: number): Promise<ReadonlyMap<string, Quality> | null> {
    if (this.#looking || now - this.#lookedAt < INTERVAL_MS) return null;
    this.#looking = true;
    this.#lookedAt = now;
    try {
      return await this.#look(identities, now);
    } finally {
      this.#looking = false;
    }
  }

  async #look(identities: readonly string[], now: number): Promise<Map<string, Quality>> {
    for (const gone of [...this.#gauges.keys()].filter((each) => !identities.includes(each))) {
      this.#gauges.delete(gone);
    }
    const stats = await Promise.allSettled(identities.map((each) => this.#transport.voiceStats(each)));
    const qualities = new Map<string, Quality>();
    for (const [index, identity] of identities.entries()) {
      const found = stats[index];
      const gauge = this.#gauges.get(identity) ?? new QualityGauge();
      this.#gauges.set(identity, gauge);
      // Who cannot be counted now, because their connection is closing, is left out.
      const quality = found?.status === "fulfilled" ? gauge.look(found.value, now) : null;
      if (quality !== null) qualities.set(identity, quality);
    }
    return qualities;
  }
}
