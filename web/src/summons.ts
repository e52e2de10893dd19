/**
 * Calls an agent that should be in the room and is not. On an SFU of its own the gateway learns
 * of a room from the tokens it gives or is shown; one that was restarted has seen none yet.
 */

const PATIENCE_MS = 2_000;
const INTERVAL_MS = 3_000;

export class Summons {
  readonly #show: () => Promise<unknown>;
  #missingSince: number | null = null;
  #shownAt = -Infinity;

  /** `show` shows the gateway our token of the room. */
  constructor(show: () => Promise<unknown>) {
    this.#show = show;
  }

  /** `missing`: an agent is expected and not there. `now` is milliseconds. To be called often. */
  tick(missing: boolean, now: number): void {
    if (!missing) {
      this.#missingSince = null;
      return;
    }
    this.#missingSince ??= now;
    if (now - this.#missingSince < PATIENCE_MS || now - this.#shownAt < INTERVAL_MS) return;
    this.#shownAt = now;
    this.#show().catch(() => {
      // The gateway is away: it is shown again.
    });
  }
}
