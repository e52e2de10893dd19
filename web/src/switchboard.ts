/** The switches of the agent's routing: what was wished for, until it holds or was refused. */

import { Refusal } from "./api";
import { changeFor, type Routing, type RoutingChange, type Wish } from "./routing";
import type { Room } from "./room";

const FAILURE_IS_NEWS_MS = 20_000;

/** Where a switch was used, and so where its failure is told. */
export type Place = "panel" | "tile";

export interface Failure {
  readonly wish: Wish;
  readonly place: Place;
  /** One sentence. */
  readonly message: string;
  readonly at: number;
}

/** Asks for one change at a time, in order. Reports `change`. */
export class Switchboard extends EventTarget {
  #failure: Failure | null = null;
  readonly #room: Room;
  readonly #request: (change: RoutingChange) => Promise<Routing>;
  readonly #pending = new Set<string>();
  /** Resolved once all wishes so far are settled; never rejected. */
  #settled: Promise<void> = Promise.resolve();

  /** `request` returns what holds, when it holds; throws Refusal. */
  constructor(room: Room, request: (change: RoutingChange) => Promise<Routing>) {
    super();
    this.#room = room;
    this.#request = request;
  }

  /** The last wish that did not come true, until the next one and while it is news. */
  failure(place: Place, now: number): Failure | null {
    const failure = this.#failure;
    const isNews = failure?.place === place && now - failure.at < FAILURE_IS_NEWS_MS;
    return isNews ? failure : null;
  }

  /** This switch was used, and it is not known yet what became of it. */
  isChanging({ type, identity }: Pick<Wish, "type" | "identity">): boolean {
    return this.#pending.has(keyOf(type, identity));
  }

  /** Use a switch; nothing happens while it is changing. */
  wish(wish: Wish, place: Place): void {
    if (this.isChanging(wish)) return;
    this.#failure = null;
    this.#pending.add(keyOf(wish.type, wish.identity));
    this.#changed();
    this.#settled = this.#settled.then(() => this.#settle(wish, place));
  }

  async #settle(wish: Wish, place: Place): Promise<void> {
    const { everybody, routing } = this.#room;
    const present = everybody.map(({ identity }) => identity);
    try {
      this.#room.routed(await this.#request(changeFor(wish, routing, present)));
    } catch (error) {
      if (!(error instanceof Refusal)) console.error("a change of routing failed", error);
      const message = error instanceof Refusal ? error.message : "Reload the page and try again.";
      this.#failure = { wish, place, message, at: performance.now() };
    }
    this.#pending.delete(keyOf(wish.type, wish.identity));
    this.#changed();
  }

  #changed(): void {
    this.dispatchEvent(new Event("change"));
  }
}

function keyOf(type: Wish["type"], identity: string | null): string {
  return `${type} ${identity ?? ""}`;
}
