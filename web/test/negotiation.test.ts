import { describe, expect, it } from "vitest";

import cases from "../../tests/golden/negotiation.json";
import roles from "../../tests/golden/negotiation_roles.json";
import {
  MAX_EARLY_CANDIDATES,
  Negotiation,
  type NegotiationEvent,
  randomConnectionName,
  type Role,
  roleTowards,
} from "../src/transport/negotiation";

/** Between two agents one side only offers and the other only answers: not the page's business. */
const isOurs = ({ role }: { role: string }) => role === "polite" || role === "impolite";

/** Connections that we name are local0001, local0002, ... */
function named(role: Role, prefix = "local"): Negotiation {
  let count = 0;
  return new Negotiation(role, () => {
    count += 1;
    return `${prefix}${String(count).padStart(4, "0")}`;
  });
}

describe("the golden transition table", () => {
  for (const { name, role, steps } of cases.filter(isOurs)) {
    it(`${role}: ${name}`, () => {
      const negotiation = named(role as Role);
      for (const [index, { event, actions }] of steps.entries()) {
        const got = negotiation.receive(event as NegotiationEvent);
        expect(got, `step ${index}: ${JSON.stringify(event)}`).toEqual(actions);
      }
    });
  }

  it("has cases for both roles", () => {
    expect(new Set(cases.filter(isOurs).map(({ role }) => role)).size).toBe(2);
  });
});

describe("roles", () => {
  for (const { local, remote, role } of roles.filter(isOurs)) {
    if (local.kind === "agent") continue;
    it(`${local.sid} is ${role} towards ${remote.kind} ${remote.sid}`, () => {
      expect(roleTowards(local, remote)).toBe(role);
    });
  }
});

it("keeps a bounded number of early candidates", () => {
  const negotiation = named("polite");
  for (let n = 0; n < 10 * MAX_EARLY_CANDIDATES; n += 1) {
    negotiation.receive({ type: "candidate_received", connection: "remote01", candidate: null });
  }
  const offer = { type: "offer_received", connection: "remote01", sdp: "v=0" } as const;
  const added = negotiation.receive(offer).filter(({ type }) => type === "add_candidate");
  expect(added).toHaveLength(MAX_EARLY_CANDIDATES);
});

it("names connections as the protocol wants", () => {
  const names = new Set(Array.from({ length: 100 }, randomConnectionName));
  expect(names.size).toBe(100);
  for (const name of names) expect(name).toMatch(/^[A-Za-z0-9]{8,32}$/);
});

/** One side with its RTCPeerConnections reduced to signalling states that refuse what W3C does. */
class Side {
  readonly #machine: Negotiation;
  readonly #todo: ReturnType<Negotiation["receive"]> = [];
  readonly #wire: NegotiationEvent[];
  connection: string | null = null;
  state: "stable" | "have-local-offer" | "have-remote-offer" = "stable";

  constructor(role: Role, wire: NegotiationEvent[]) {
    this.#machine = named(role, role);
    this.#wire = wire;
  }

  get busy(): boolean {
    return this.#todo.length > 0;
  }

  give(event: NegotiationEvent): void {
    this.#todo.push(...this.#machine.receive(event));
  }

  perform(): void {
    const action = this.#todo.shift();
    if (action === undefined) return;
    const { connection } = action;
    if (action.type !== "open_connection") expect(this.connection).toBe(connection);
    switch (action.type) {
      case "open_connection":
        expect(this.connection).toBeNull();
        this.connection = connection;
        this.state = "stable";
        break;
      case "close_connection":
      case "supersede_connection":
        this.connection = null;
        break;
      case "send_offer":
        this.#move("stable", "have-local-offer");
        this.#wire.push({ type: "offer_received", connection, sdp: "" });
        break;
      case "send_answer":
        this.#move("have-remote-offer", "stable");
        this.#wire.push({ type: "answer_received", connection, sdp: "" });
        break;
      case "roll_back":
        this.#move("have-local-offer", "stable");
        break;
      case "accept_offer":
        this.#move("stable", "have-remote-offer");
        break;
      case "accept_answer":
        this.#move("have-local-offer", "stable");
        break;
      case "add_candidate":
        break;
    }
  }

  #move(from: Side["state"], to: Side["state"]): void {
    expect(this.state).toBe(from);
    this.state = to;
  }
}

function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

describe("two peers", () => {
  /** Both sides and the ways between them; each step is chosen at random. */
  class Play {
    readonly #random: () => number;
    readonly #toImpolite: NegotiationEvent[] = [];
    readonly #toPolite: NegotiationEvent[] = [];
    readonly polite = new Side("polite", this.#toImpolite);
    readonly impolite = new Side("impolite", this.#toPolite);

    constructor(seed: number) {
      this.#random = seeded(seed);
    }

    /** False if there is nothing to do. */
    step(disturbed: boolean, lossy = false): boolean {
      const moves: (() => void)[] = [];
      for (const [side, inbox] of [
        [this.polite, this.#toPolite],
        [this.impolite, this.#toImpolite],
      ] as const) {
        if (side.busy) moves.push(() => side.perform());
        const event = inbox[0];
        if (event !== undefined) {
          moves.push(() => {
            inbox.shift();
            side.give(event);
          });
          if (lossy) moves.push(() => void inbox.shift());
        }
        if (!disturbed) continue;
        moves.push(() => side.give({ type: "negotiation_needed" }));
        if (this.#random() < 0.2) moves.push(() => side.give({ type: "connection_broken" }));
      }
      moves[Math.floor(this.#random() * moves.length)]?.();
      return moves.length > 0;
    }

    settle(what: string): void {
      let budget = 2000;
      while (this.step(false) && budget > 0) budget -= 1;
      expect(budget, `${what} settles`).toBeGreaterThan(0);
    }

    expectAgreement(what: string): void {
      expect(this.polite.connection, what).not.toBeNull();
      expect(this.polite.connection, `${what}: the same connection`).toBe(this.impolite.connection);
      expect([this.polite.state, this.impolite.state], what).toEqual(["stable", "stable"]);
    }
  }

  it("agree on one connection whatever the interleaving, and never ask for what W3C refuses", () => {
    for (let seed = 1; seed <= 1000; seed += 1) {
      const play = new Play(seed);
      for (let n = 0; n < 40; n += 1) play.step(true);
      play.polite.give({ type: "negotiation_needed" }); // so that there is a connection at all
      play.settle(`seed ${seed}`);
      play.expectAgreement(`seed ${seed}`);
    }
  });

  it("agree after messages were lost, with one replacement of the impolite", () => {
    for (let seed = 1; seed <= 1000; seed += 1) {
      const play = new Play(seed);
      for (let n = 0; n < 60; n += 1) play.step(true, true);
      play.settle(`seed ${seed}, lossy`);
      play.impolite.give({ type: "connection_broken" });
      for (let n = 0; n < 5; n += 1) {
        play.polite.give({ type: "negotiation_needed" }); // as when it restarts ICE meanwhile
        play.step(false);
      }
      play.settle(`seed ${seed}`);
      play.expectAgreement(`seed ${seed}`);
    }
  });
});
