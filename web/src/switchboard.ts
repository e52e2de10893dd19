/** The switches of the agent's routing: what was wished for, until it holds or was refused. */

import { Refusal } from "./api";
import { changeFor, type Routing, type RoutingChange, type Wish } from "./routing";
import type { Room } from "./room";

/** Where a switch was used, and so where its failure is told. */
export type Place = "panel" | "tile";

export interface Failure {
  readonly wish: Wish;
  readonly place: Place;
  /** One sentence. */
  readonly message: string;
}

/** Asks for one change at a time, in order. Reports `change`. */
export class Switchboard extends EventTarget {
  /** The last wish that did not come true; gone with the next one. */
  failure: Failure | null = null;
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

  /** This switch was used, and it is not known yet what became of it. */
  isChanging({ type, identity }: Pick<Wish, "type" | "identity">): boolean {
    return this.#pending.has(keyOf(type, identity));
  }

  /** Use a switch; nothing happens while it is changing. */
  wish(wish: Wish, place: Place): void {
    if (this.isChanging(wish)) return;
    this.failure = null;
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
      const message = error instanceof Refusal ? error.message : "The server's answer makes no sense.";
      this.failure = { wish, place, message };
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
