/** Whom the agent hears and speaks to: read, changed, told in words; and what really arrives. */

import { beforeEach, describe, expect, it, vi } from "vitest";

import { Refusal } from "../src/api";
import { routingNews, routingNote, routingSummary } from "../src/hearing";
import { Reception } from "../src/reception";
import { Room } from "../src/room";
import {
  changeFor,
  EVERYBODY,
  hears,
  parseRouting,
  readRouting,
  requestRouting,
  type Routing,
  type RoutingChange,
  speaksTo,
} from "../src/routing";
import { Switchboard } from "../src/switchboard";
import { type Participant, type Received, ROUTING_ATTRIBUTE } from "../src/transport/types";

function participant(name: string, more: Partial<Participant> = {}): Participant {
  const identity = name.toLowerCase();
  const rest = { kind: "standard", muted: false, attributes: {} } as const;
  return { sid: `PA_${identity}`, identity, name, ...rest, ...more };
}

const MULISA = participant("Mulisa", { kind: "agent" });
const YOU = { identity: "alice", called: "you" };
const BOB = { identity: "bob", called: "Bob" };
const CAROL = { identity: "carol", called: "Carol" };

function routing(unheard: string[], listeners: string[] | null = null): Routing {
  return { unheard: new Set(unheard), listeners: listeners && new Set(listeners) };
}

function routedBy(attribute: string): Participant {
  return { ...MULISA, attributes: { [ROUTING_ATTRIBUTE]: attribute } };
}

describe("the agent's attribute", () => {
  it("is read as she writes it", () => {
    const text = '{"hear": {"alice": true, "bob": false}, "speak_to": ["alice"]}';
    expect(readRouting(text)).toEqual(routing(["bob"], ["alice"]));
    expect(readRouting('{"hear": {}, "speak_to": []}').listeners).toEqual(new Set());
  });

  it("means everybody while there is none, or none that can be read", () => {
    const bad = ["", "{", "null", "[]", '{"hear": []}', '{"hear": {"a": 1}}', '{"speak_to": "a"}'];
    for (const text of [undefined, "{}", ...bad, '{"speak_to": [1]}']) {
      expect(readRouting(text), text).toEqual(EVERYBODY);
    }
    expect(parseRouting({ hear: null })).toBeNull();
  });

  it("says of each whether they are heard and spoken to", () => {
    const some = routing(["bob"], ["bob"]);
    expect([hears(some, "alice"), hears(some, "bob")]).toEqual([true, false]);
    expect([speaksTo(some, "alice"), speaksTo(some, "bob")]).toEqual([false, true]);
    expect(speaksTo(EVERYBODY, "anybody")).toBe(true);
  });
});

describe("a switch", () => {
  const present = ["alice", "bob"];

  it("of her ears names one person", () => {
    const change = changeFor({ type: "hear", identity: "bob", on: false }, EVERYBODY, present);
    expect(change).toEqual({ hear: { bob: false } });
  });

  it("of her voice keeps all others, and those who left", () => {
    const off = { type: "speak", identity: "bob", on: false } as const;
    expect(changeFor(off, EVERYBODY, present)).toEqual({ speak_to: ["alice"] });
    expect(changeFor(off, routing([], ["bob", "zoe"]), present)).toEqual({ speak_to: ["zoe"] });
    const on = { ...off, on: true };
    expect(changeFor(on, routing([], ["zoe"]), present)).toEqual({ speak_to: ["zoe", "bob"] });
  });

  it("that gives back the last listener gives back everybody", () => {
    const on = { type: "speak", identity: "bob", on: true } as const;
    expect(changeFor(on, routing([], ["alice"]), present)).toEqual({ speak_to: null });
    expect(changeFor(on, EVERYBODY, present)).toEqual({ speak_to: null });
  });

  it("for everybody is for whoever comes later, too; without it stay those who are here", () => {
    const all = { type: "speak", identity: null, on: true } as const;
    expect(changeFor(all, routing([], ["bob"]), present)).toEqual({ speak_to: null });
    expect(changeFor({ ...all, on: false }, EVERYBODY, present)).toEqual({ speak_to: present });
  });
});

describe("in words", () => {
  it("a summary names those who are left out", () => {
    const all = [YOU, BOB, CAROL];
    const summary = (some: Routing) => routingSummary("Mulisa", some, all);
    expect(summary(EVERYBODY)).toBe("Mulisa hears everybody. She speaks to everybody.");
    expect(summary(routing(["alice", "bob"], ["bob"]))).toBe(
      "Mulisa hears Carol, not you or Bob. She speaks to Bob, not you or Carol.",
    );
    expect(summary(routing(["alice", "bob", "carol"], []))).toBe(
      "Mulisa hears nobody. She speaks to nobody.",
    );
    expect(summary(routing([], ["alice", "bob", "carol"]))).toBe(
      "Mulisa hears everybody. She speaks to you, Bob and Carol, not to whoever comes later.",
    );
  });

  it("a note says what is unusual about one person", () => {
    expect(routingNote("Mulisa", EVERYBODY, BOB)).toBe("");
    expect(routingNote("Mulisa", routing(["alice"]), YOU)).toBe("Mulisa does not hear you");
    expect(routingNote("Mulisa", routing([], []), BOB)).toBe("Mulisa does not speak to Bob");
    expect(routingNote("Mulisa", routing(["bob"], []), BOB)).toBe(
      "Mulisa does not hear or speak to Bob",
    );
  });

  it("news say what changed, and nothing else", () => {
    const people = [YOU, BOB];
    expect(routingNews("Mulisa", routing(["bob"]), routing(["bob"]), people)).toBe("");
    expect(routingNews("Mulisa", routing(["alice"]), routing(["bob"], ["alice"]), people)).toBe(
      "Mulisa no longer hears Bob. Mulisa hears you again. Mulisa no longer speaks to Bob.",
    );
  });
});

describe("the room", () => {
  let room: Room;

  beforeEach(() => {
    room = new Room("garden", 0);
    const participants = [participant("Bob"), routedBy('{"hear": {"bob": false}}')];
    room.receive({ type: "joined", local: participant("Alice"), participants }, 100);
  });

  it("knows the agent's routing from the beginning, and announces changes of it", () => {
    expect(hears(room.routing, "bob")).toBe(false);
    const text = '{"hear": {"alice": false, "bob": true}}';
    room.receive({ type: "participant_updated", participant: routedBy(text) }, 200);
    expect(hears(room.routing, "bob")).toBe(true);
    expect(room.announcement).toBe("Mulisa no longer hears you. Mulisa hears Bob again.");
    room.receive({ type: "participant_updated", participant: MULISA }, 300);
    expect(room.routing).toEqual(EVERYBODY);
  });

  it("takes no routing from a person", () => {
    const attributes = { [ROUTING_ATTRIBUTE]: '{"hear": {"alice": false}}' };
    room.receive({ type: "participant_updated", participant: participant("Bob", { attributes }) }, 200);
    expect(hears(room.routing, "alice")).toBe(true);
  });

  it("believes the server's answer before the agent shows it, and her next change after", () => {
    room.routed(EVERYBODY);
    const again = { ...routedBy('{"hear": {"bob": false}}'), muted: true };
    room.receive({ type: "participant_updated", participant: again }, 200);
    expect(hears(room.routing, "bob")).toBe(true);
    const text = '{"hear": {}, "speak_to": []}';
    room.receive({ type: "participant_updated", participant: routedBy(text) }, 300);
    expect(room.routing).toEqual(routing([], []));
  });

  it("knows what arrives from who hears it, for as long as that is fresh", () => {
    expect(room.arrives("alice", "bob", 1_000)).toBeNull();
    room.receive({ type: "reception_received", identity: "bob", heard: ["alice"] }, 1_000);
    expect(room.arrives("alice", "bob", 1_100)).toBe(true);
    expect(room.arrives("mulisa", "bob", 1_100)).toBe(false);
    expect(room.arrives("bob", "alice", 1_100)).toBeNull();
    room.receive({ type: "reception_received", identity: "bob", heard: [] }, 2_000);
    expect(room.arrives("alice", "bob", 4_000)).toBe(false);
    expect(room.arrives("alice", "bob", 5_000)).toBeNull();
  });

  it("forgets what somebody heard when they leave", () => {
    room.receive({ type: "reception_received", identity: "bob", heard: ["alice"] }, 1_000);
    room.receive({ type: "participant_left", identity: "bob", reason: "left" }, 1_100);
    expect(room.arrives("alice", "bob", 1_200)).toBeNull();
  });

  it("tells of reports without telling of a change", () => {
    const told: string[] = [];
    for (const type of ["change", "reports"]) {
      room.addEventListener(type, (event) => void told.push(event.type));
    }
    room.receive({ type: "reception_received", identity: "bob", heard: [] }, 1_000);
    expect(told).toEqual(["reports"]);
  });

  it("remembers for whom a whisper is", () => {
    const rest = { text: "Psst.", final: true, interrupted: false, unspoken: "" };
    const caption = { segmentId: "S1", identity: "mulisa", listener: "alice", ...rest };
    room.receive({ type: "caption_received", caption }, 200);
    const chat = { identity: "mulisa", id: "S1", text: "Psst.", listener: "alice" };
    room.receive({ type: "chat_received", ...chat }, 300);
    const alice = { identity: "alice", name: "Alice" };
    expect(room.lines.map(({ listener }) => listener)).toEqual([alice, alice]);
    room.sentChat("1", "to all", 400);
    expect(room.lines.at(-1)?.listener).toBeNull();
  });
});

interface Request {
  readonly change: RoutingChange;
  readonly holds: (routing: Routing) => void;
  readonly fails: (error: Error) => void;
}

describe("the switchboard", () => {
  const BOB_OFF = { type: "hear", identity: "bob", on: false } as const;
  const QUIET = { type: "speak", identity: "bob", on: false } as const;
  let room: Room;
  let requests: Request[];
  let switchboard: Switchboard;

  beforeEach(() => {
    room = new Room("garden", 0);
    const participants = [participant("Bob"), participant("Carol"), MULISA];
    room.receive({ type: "joined", local: participant("Alice"), participants }, 100);
    requests = [];
    switchboard = new Switchboard(room, (change) => {
      return new Promise((holds, fails) => void requests.push({ change, holds, fails }));
    });
  });

  async function asked(count: number): Promise<Request> {
    return vi.waitFor(() => {
      const request = requests[count - 1];
      if (request === undefined) throw new Error(`only ${requests.length} requests`);
      return request;
    });
  }

  it("changes until the server says that it holds", async () => {
    switchboard.wish(BOB_OFF, "panel");
    expect(switchboard.isChanging(BOB_OFF)).toBe(true);
    const request = await asked(1);
    expect(hears(room.routing, "bob")).toBe(true);
    switchboard.wish({ ...BOB_OFF, on: true }, "panel"); // not while it is changing
    request.holds(routing(["bob"]));
    await vi.waitFor(() => expect(switchboard.isChanging(BOB_OFF)).toBe(false));
    expect(hears(room.routing, "bob")).toBe(false);
    expect(requests).toHaveLength(1);
  });

  it("asks one after another, each on top of what holds then", async () => {
    switchboard.wish(QUIET, "panel");
    switchboard.wish({ ...QUIET, identity: "carol" }, "panel");
    const first = await asked(1);
    expect(first.change).toEqual({ speak_to: ["alice", "carol"] });
    first.holds(routing([], ["alice", "carol"]));
    expect((await asked(2)).change).toEqual({ speak_to: ["alice"] });
  });

  it("tells a failure where the switch is, changes nothing, and goes on", async () => {
    switchboard.wish(QUIET, "tile");
    (await asked(1)).fails(new Refusal("away", "The server does not answer."));
    await vi.waitFor(() => expect(switchboard.isChanging(QUIET)).toBe(false));
    const now = performance.now();
    expect(switchboard.failure("tile", now)?.message).toBe("The server does not answer.");
    expect(switchboard.failure("panel", now)).toBeNull();
    expect(switchboard.failure("tile", now + 60_000)).toBeNull();
    expect(room.routing).toBe(EVERYBODY);
    switchboard.wish(QUIET, "tile");
    expect(switchboard.failure("tile", now)).toBeNull();
    (await asked(2)).holds(routing([], ["alice", "carol"]));
    await vi.waitFor(() => expect(speaksTo(room.routing, "bob")).toBe(false));
  });
});

describe("the request", () => {
  it("goes to the room with our token, and gives what holds", async () => {
    const answer = { hear: { alice: true, bob: false }, speak_to: ["alice"] };
    const fetching = vi.fn(() => Promise.resolve(Response.json(answer)));
    vi.stubGlobal("fetch", fetching);
    const holds = await requestRouting("my room", "T", { hear: { bob: false } });
    expect(holds).toEqual(routing(["bob"], ["alice"]));
    expect(fetching).toHaveBeenCalledExactlyOnceWith(
      "/api/rooms/my%20room/routing",
      expect.objectContaining({
        method: "PUT",
        headers: { authorization: "Bearer T", "content-type": "application/json" },
        body: '{"hear":{"bob":false}}',
      }),
    );
    vi.unstubAllGlobals();
  });

  it("fails with the server's sentence, and on an answer that is no routing", async () => {
    const answers = [
      Response.json({ error: "Nobody is in this room." }, { status: 404 }),
      Response.json({ hear: [] }),
      new Response("<html>"),
    ];
    vi.stubGlobal("fetch", () => Promise.resolve(answers.shift()));
    await expect(requestRouting("garden", "T", {})).rejects.toThrow("Nobody is in this room.");
    await expect(requestRouting("garden", "T", {})).rejects.toThrow(Refusal);
    await expect(requestRouting("garden", "T", {})).rejects.toThrow(Refusal);
    vi.unstubAllGlobals();
  });
});

describe("the count of what arrives", () => {
  const counters = new Map<string, Received>();
  const failing = new Set<string>();
  const sent: (readonly string[])[] = [];
  let reception: Reception;

  beforeEach(() => {
    counters.clear();
    failing.clear();
    sent.length = 0;
    reception = new Reception({
      received: (identity) =>
        failing.has(identity)
          ? Promise.reject(new Error("closed"))
          : Promise.resolve(counters.get(identity) ?? null),
      sendReception: (heard) => void sent.push(heard),
    });
  });

  function count(identity: string, packets: number): void {
    counters.set(identity, { packets, bytes: packets * 80 });
  }

  it("tells once a second whose packets came since the last time", async () => {
    count("bob", 50);
    expect(await reception.tick(["bob", "carol"], 0)).toEqual(["bob"]);
    expect(await reception.tick(["bob", "carol"], 999)).toBeNull();
    count("carol", 1);
    expect(await reception.tick(["bob", "carol"], 1_000)).toEqual(["carol"]);
    expect(await reception.tick(["bob", "carol"], 2_000)).toEqual([]);
    expect(sent).toEqual([["bob"], ["carol"], []]);
  });

  it("does not take who comes back for heard before a packet came", async () => {
    count("bob", 50);
    await reception.tick(["bob"], 0);
    await reception.tick([], 1_000);
    expect(await reception.tick(["bob"], 2_000)).toEqual([]);
    count("bob", 51);
    expect(await reception.tick(["bob"], 3_000)).toEqual(["bob"]);
  });

  it("leaves out whom it cannot count now, and begins where it was", async () => {
    count("bob", 50);
    await reception.tick(["bob", "carol"], 0);
    failing.add("bob");
    count("carol", 1);
    expect(await reception.tick(["bob", "carol"], 1_000)).toEqual(["carol"]);
    failing.clear();
    expect(await reception.tick(["bob", "carol"], 2_000)).toEqual([]);
  });

  it("tells nobody when nobody is there", async () => {
    expect(await reception.tick([], 0)).toEqual([]);
    expect(sent).toEqual([]);
  });

  it("counts once at a time, however slow the browser is", async () => {
    let answer: (received: Received) => void = () => undefined;
    const received = vi.fn(() => new Promise<Received>((resolve) => (answer = resolve)));
    const busy = new Reception({ received, sendReception: () => undefined });
    const first = busy.tick(["bob"], 0);
    expect(await busy.tick(["bob"], 5_000)).toBeNull();
    answer({ packets: 1, bytes: 80 });
    expect(await first).toEqual(["bob"]);
    expect(received).toHaveBeenCalledOnce();
  });
});
