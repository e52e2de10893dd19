import { beforeEach, describe, expect, it } from "vitest";

import { agentState, isTyped, Room } from "../src/room";
import { AGENT_STATE_ATTRIBUTE, type Caption, type Participant } from "../src/transport/types";

function participant(name: string, more: Partial<Participant> = {}): Participant {
  const identity = more.identity ?? name.toLowerCase();
  const rest = { kind: "standard", muted: false, attributes: {} } as const;
  return { sid: `PA_${identity}`, identity, name, ...rest, ...more };
}

const ALICE = participant("Alice");
const BOB = participant("Bob");
const MULISA = participant("Mulisa", { kind: "agent" });

function caption(text: string, more: Partial<Caption> = {}): Caption {
  const rest = { final: false, interrupted: false, unspoken: "", listener: null };
  return { segmentId: "S1", identity: "bob", text, ...rest, ...more };
}

let room: Room;

beforeEach(() => {
  room = new Room("garden", 0);
  room.receive({ type: "joined", local: ALICE, participants: [BOB, MULISA] }, 100);
});

function connect(identity: string, now = 200): void {
  room.receive({ type: "connection_changed", identity, state: "connected" }, now);
}

describe("who is there", () => {
  it("tells people from the agent", () => {
    expect(room.local?.participant).toBe(ALICE);
    expect(room.people.map((person) => person.participant.name)).toEqual(["Bob"]);
    expect(room.agent?.participant.name).toBe("Mulisa");
  });

  it("announces who joins and leaves", () => {
    room.receive({ type: "participant_joined", participant: participant("Carol") }, 300);
    expect(room.announcement).toBe("Carol joined.");
    room.receive({ type: "participant_left", identity: "bob", reason: "left" }, 400);
    expect(room.announcement).toBe("Bob left.");
    expect(room.people.map((person) => person.participant.name)).toEqual(["Carol"]);
  });

  it("takes updates of others and of oneself", () => {
    room.receive({ type: "participant_updated", participant: { ...BOB, muted: true } }, 300);
    room.receive({ type: "participant_updated", participant: { ...ALICE, muted: true } }, 300);
    expect(room.people[0]?.participant.muted).toBe(true);
    expect(room.local?.participant.muted).toBe(true);
  });

  it("keeps what was said when it comes back with a new sid", () => {
    room.receive({ type: "caption_received", caption: caption("hello") }, 300);
    room.receive({ type: "signaling_lost" }, 400);
    const again = { ...ALICE, sid: "PA_2" };
    room.receive({ type: "joined", local: again, participants: [BOB] }, 5_000);
    expect(room.local?.participant.sid).toBe("PA_2");
    expect(room.lines.map(({ text }) => text)).toEqual(["hello"]);
    expect(room.announcement).toBe("You are back in the room.");
    expect(room.agent).toBeNull();
  });
});

describe("the agent's state", () => {
  it("is initializing until she says otherwise, and never a word we do not know", () => {
    const saying = (state: string) => ({ ...MULISA, attributes: { [AGENT_STATE_ATTRIBUTE]: state } });
    expect(agentState(MULISA)).toBe("initializing");
    expect(agentState(saying("thinking"))).toBe("thinking");
    expect(agentState(saying("dancing"))).toBe("initializing");
    room.receive({ type: "participant_updated", participant: saying("speaking") }, 300);
    expect(room.announcement).toBe("Mulisa is speaking.");
  });
});

describe("captions", () => {
  it("are taken back if there were no words after all", () => {
    room.receive({ type: "caption_received", caption: caption("uh") }, 300);
    room.receive({ type: "caption_received", caption: caption("", { final: true }) }, 400);
    expect(room.lines).toEqual([]);
    room.receive({ type: "caption_received", caption: caption(" ", { final: true, segmentId: "S9" }) }, 500);
    expect(room.lines).toEqual([]);
  });

  it("grow in place, settle once, and keep the time of their first words", () => {
    room.receive({ type: "caption_received", caption: caption("shall we") }, 300);
    room.receive(
      { type: "caption_received", caption: caption("hi", { segmentId: "S2", identity: "alice" }) },
      400,
    );
    room.receive({ type: "caption_received", caption: caption("shall we go") }, 500);
    room.receive({ type: "caption_received", caption: caption("Shall we go?", { final: true }) }, 600);
    room.receive({ type: "caption_received", caption: caption("too late") }, 700);
    expect(room.lines.map(({ name, text, at }) => [name, text, at])).toEqual([
      ["Bob", "Shall we go?", 300],
      ["Alice", "hi", 400],
    ]);
  });

  it("are changed by nobody else", () => {
    room.receive({ type: "caption_received", caption: caption("It is", { identity: "mulisa" }) }, 300);
    room.receive({ type: "caption_received", caption: caption("hush", { final: true }) }, 400);
    const rest = caption("It is five.", { identity: "mulisa", final: true });
    room.receive({ type: "caption_received", caption: rest }, 500);
    expect(room.lines.map(({ name, text }) => [name, text])).toEqual([
      ["Mulisa", "It is five."],
      ["Bob", "hush"],
    ]);
  });

  it("keep the name of who has left", () => {
    room.receive({ type: "participant_left", identity: "bob", reason: "left" }, 200);
    room.receive({ type: "caption_received", caption: caption("bye", { final: true }) }, 300);
    expect(room.lines[0]?.name).toBe("Bob");
  });

  it("of the agent are her current sentence until they are old", () => {
    const said = caption("Five o'clock.", { identity: "mulisa", final: true });
    room.receive({ type: "caption_received", caption: said }, 1_000);
    expect(room.agentLine(2_000)?.text).toBe("Five o'clock.");
    expect(room.agentLine(60_000)).toBeNull();
  });
});

it("what an agent writes is the segment of what it says", () => {
  const written = { identity: "mulisa", id: "S1", text: "Hello.", listener: null };
  room.receive({ type: "chat_received", ...written }, 300);
  const said = caption("Hello.", { identity: "mulisa", final: true });
  room.receive({ type: "caption_received", caption: said }, 400);
  expect(room.lines.map(({ kind, id }) => [kind, id])).toEqual([
    ["chat", "S1"],
    ["caption", "S1"],
  ]);
  expect(room.lines.some(isTyped)).toBe(false);
});

it("typed messages of two people with the same id stay two", () => {
  const written = { identity: "bob", id: "1", text: "hello", listener: null };
  room.receive({ type: "chat_received", ...written }, 300);
  room.sentChat("1", "hi", 400);
  expect(room.lines.map(({ name, text }) => [name, text])).toEqual([
    ["Bob", "hello"],
    ["Alice", "hi"],
  ]);
});

describe("trouble", () => {
  it("is none while connecting takes its usual time", () => {
    expect(room.trouble(2_000)).toBeNull();
    expect(room.trouble(6_100)).toBe("Connecting to Bob and Mulisa, 6 s.");
  });

  it("says who is out of reach, since when, and who is still heard", () => {
    connect("bob");
    connect("mulisa");
    expect(room.trouble(60_000)).toBeNull();
    room.receive({ type: "connection_changed", identity: "bob", state: "interrupted" }, 60_000);
    expect(room.trouble(63_900)).toBe("Reconnecting to Bob, 3 s. You still hear Mulisa.");
    connect("bob", 64_000);
    expect(room.trouble(64_000)).toBeNull();
  });

  it("names who does not hear us, though we hear them", () => {
    connect("mulisa");
    room.receive({ type: "connection_changed", identity: "bob", state: "unheard" }, 9_000);
    expect(room.trouble(9_500)).toBe("Bob does not hear you. Mending the connection.");
    room.receive({ type: "connection_changed", identity: "mulisa", state: "interrupted" }, 9_000);
    expect(room.trouble(11_000)).toBe(
      "Reconnecting to Mulisa, 2 s. You still hear Bob. Bob does not hear you. Mending the connection.",
    );
    room.receive({ type: "connection_changed", identity: "bob", state: "connected" }, 12_000);
    room.receive({ type: "connection_changed", identity: "mulisa", state: "connected" }, 12_000);
    expect(room.trouble(12_000)).toBeNull();
  });

  it("counts from the first loss of the way to the server", () => {
    connect("bob");
    room.receive({ type: "signaling_lost" }, 10_000);
    room.receive({ type: "signaling_lost" }, 12_000);
    expect(room.trouble(13_000)).toBe("Reconnecting to the room, 3 s. You still hear Bob.");
  });

  it("says when the server was never reached", () => {
    const door = new Room("garden", 0);
    expect(door.trouble(1_000)).toBeNull();
    door.receive({ type: "signaling_lost" }, 1_000);
    expect(door.trouble(2_000)).toBe("The server does not answer. Still trying, 2 s.");
  });
});

it("tells of levels always, and of changes only when somebody begins or ceases to speak", () => {
  const heard = { levels: 0, change: 0 };
  room.addEventListener("levels", () => (heard.levels += 1));
  room.addEventListener("change", () => (heard.change += 1));
  for (let now = 1_000; now < 2_000; now += 40) room.receiveLevels(new Map([["bob", 0.6]]), now);
  expect(heard).toEqual({ levels: 25, change: 1 });
  expect(room.people[0]?.voice.speaking).toBe(true);
  for (let now = 2_000; now < 3_000; now += 40) room.receiveLevels(new Map(), now);
  expect(heard).toEqual({ levels: 50, change: 2 });
  expect(room.people[0]?.voice.speaking).toBe(false);
});
