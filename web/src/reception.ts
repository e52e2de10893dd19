/** Whose voice came to us in the last second: counted from packets, and told to everybody. */

import type { Transport } from "./transport/types";

const INTERVAL_MS = 1_000;

export class Reception {
  readonly #transport: Pick<Transport, "received" | "sendReception">;
  /** Packets so far at the last count, of those who left, too: they may come back. */
  #packets: ReadonlyMap<string, number> = new Map();
  #countedAt = -Infinity;
  #counting = false;

  constructor(transport: Pick<Transport, "received" | "sendReception">) {
    this.#transport = transport;
  }

  /**
   * Once a second count what came from these and tell it; to be called more often than that.
   * Returns whose packets came since the last count, or null if it is not time. `now` is
   * milliseconds.
   */
  async tick(identities: readonly string[], now: number): Promise<readonly string[] | null> {
    if (this.#counting || now - this.#countedAt < INTERVAL_MS) return null;
    this.#counting = true;
    this.#countedAt = now;
    try {
      const heard = this.#arrived(await this.#count(identities));
      if (identities.length > 0) this.#transport.sendReception(heard);
      return heard;
    } finally {
      this.#counting = false;
    }
  }

  /** Who cannot be counted now, because their connection is closing, is left out. */
  async #count(identities: readonly string[]): Promise<Map<string, number>> {
    const counted = await Promise.allSettled(
      identities.map((identity) => this.#transport.received(identity)),
    );
    const packets = new Map<string, number>();
    for (const [index, identity] of identities.entries()) {
      const count = counted[index];
      if (count?.status === "fulfilled") packets.set(identity, count.value?.packets ?? 0);
    }
    return packets;
  }

  #arrived(packets: ReadonlyMap<string, number>): string[] {
    const before = this.#packets;
    this.#packets = new Map([...before, ...packets]);
    return [...packets]
      .filter(([identity, count]) => count > (before.get(identity) ?? 0))
      .map(([identity]) => identity);
  }
}
