import { describe, expect, it } from "vitest";

import cases from "../../tests/golden/negotiation.json";
import {
  Negotiation,
  type NegotiationAction,
  type NegotiationEvent,
  type Role,
  roleTowards,
} from "../src/transport/negotiation";

describe("the golden transition table", () => {
  for (const { name, role, steps } of cases) {
    it(name, () => {
      const negotiation = new Negotiation(role as Role);
      for (const [index, { event, actions }] of steps.entries()) {
        const got = negotiation.receive(event as NegotiationEvent);
        expect(got, `step ${index}: ${JSON.stringify(event)}`).toEqual(actions);
      }
    });
  }
});

describe("roles", () => {
  it("the smaller sid gives way, and everybody does towards an agent", () => {
    expect(roleTowards("PA_a", { sid: "PA_b", kind: "standard" })).toBe("polite");
    expect(roleTowards("PA_b", { sid: "PA_a", kind: "standard" })).toBe("impolite");
    expect(roleTowards("PA_b", { sid: "PA_a", kind: "agent" })).toBe("polite");
  });
});

/** One side with its RTCPeerConnection reduced to a signalling state that refuses what W3C does. */
class Side {
  readonly machine: Negotiation;
  readonly todo: NegotiationAction[] = [];
  state: "stable" | "have-local-offer" | "have-remote-offer" = "stable";
  applied = 0;

  constructor(
    role: Role,
    readonly wire: ("offer" | "answer")[],
  ) {
    this.machine = new Negotiation(role);
  }

  give(event: NegotiationEvent): void {
    this.todo.push(...this.machine.receive(event));
  }

  perform(): void {
    const action = this.todo.shift();
    if (action === "make_offer") {
      expect(this.state).toBe("stable");
      this.state = "have-local-offer";
      this.wire.push("offer");
      this.give({ type: "local_description_set", description: "offer" });
    } else if (action === "make_answer") {
      expect(this.state).toBe("have-remote-offer");
      this.state = "stable";
      this.applied += 1;
      this.wire.push("answer");
      this.give({ type: "local_description_set", description: "answer" });
    } else if (action === "apply_offer") {
      expect(this.state).toBe("stable");
      this.state = "have-remote-offer";
    } else if (action === "rollback_and_apply_offer") {
      expect(this.state).toBe("have-local-offer");
      this.state = "have-remote-offer";
    } else if (action === "apply_answer") {
      expect(this.state).toBe("have-local-offer");
      this.state = "stable";
      this.applied += 1;
    }
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
  it("settle whatever the interleaving, and never ask a connection for what it refuses", () => {
    for (let seed = 1; seed <= 2000; seed += 1) {
      const random = seeded(seed);
      const toImpolite: ("offer" | "answer")[] = [];
      const toPolite: ("offer" | "answer")[] = [];
      const polite = new Side("polite", toImpolite);
      const impolite = new Side("impolite", toPolite);
      const step = (wishes: boolean): boolean => {
        const moves: (() => void)[] = [];
        for (const [side, inbox] of [
          [polite, toPolite],
          [impolite, toImpolite],
        ] as const) {
          if (side.todo.length > 0) moves.push(() => side.perform());
          if (inbox.length > 0) {
            moves.push(() => {
              const type = inbox.shift();
              if (type !== undefined) side.give({ type });
            });
          }
          if (wishes) moves.push(() => side.give({ type: "negotiation_needed" }));
        }
        moves[Math.floor(random() * moves.length)]?.();
        return moves.length > 0;
      };
      for (let n = 0; n < 40; n += 1) step(true);
      let budget = 1000;
      while (step(false) && budget > 0) budget -= 1;
      expect(budget, `seed ${seed} settles`).toBeGreaterThan(0);
      expect([polite.state, impolite.state], `seed ${seed}`).toEqual(["stable", "stable"]);
      expect(polite.applied, `seed ${seed}: both completed the same rounds`).toBe(impolite.applied);
      const needed: NegotiationEvent = { type: "negotiation_needed" };
      expect(polite.machine.receive(needed), `seed ${seed} can go on`).toEqual(["make_offer"]);
    }
  });
});
