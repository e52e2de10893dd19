import { beforeEach, describe, expect, it } from "vitest";

import { CallNames } from "../src/callnames";
import { initialsOf } from "../src/people";
import { Room } from "../src/room";
import type { Participant } from "../src/transport/types";

let names: CallNames;

beforeEach(() => {
  names = new CallNames();
});

describe("who is called what", () => {
  it("is their name, and a number if somebody else has it", () => {
    expect(names.call("a1", "Alice")).toBe("Alice");
    expect(names.call("a2", "Alice")).toBe("Alice 2");
    expect(names.call("a3", "Alice")).toBe("Alice 3");
    expect(names.call("b", "Bob")).toBe("Bob");
  });

  it("stays, whoever comes and comes back", () => {
    names.call("a1", "Alice");
    names.call("a2", "Alice");
    expect(names.call("a2", "Alice")).toBe("Alice 2");
    expect(names.call("a1", "Alice")).toBe("Alice");
  });

  it("changes with the name, and gives the old one free", () => {
    names.call("a1", "Alice");
    expect(names.call("a1", "Ann")).toBe("Ann");
    expect(names.call("a2", "Alice")).toBe("Alice");
  });

  it("differs to the ear, not only to the eye", () => {
    names.call("a1", "Alice");
    expect(names.call("a2", "alice")).toBe("alice 2");
    expect(names.call("a3", "Ａlice")).toBe("Ａlice 3"); // full width
  });

  it("is nobody's who chose it before", () => {
    names.call("x", "Alice 2");
    names.call("a1", "Alice");
    expect(names.call("a2", "Alice")).toBe("Alice 3");
  });

  it("is never that of an agent", () => {
    names.reserve("Mulisa");
    expect(names.call("m", "Mulisa")).toBe("Mulisa 2");
  });
});

it("initials tell them apart, too", () => {
  expect(["Alice", "Alice 2", "Ada Lovelace", "(x)", "😀"].map(initialsOf)).toEqual([
    "A",
    "A2",
    "AL",
    "X",
    "😀",
  ]);
});

describe("a room with two Alices", () => {
  const alice = (identity: string): Participant => {
    const rest = { kind: "standard", muted: false, attributes: {} } as const;
    return { sid: `PA_${identity}`, identity, name: "Alice", ...rest };
  };
  let room: Room;

  beforeEach(() => {
    room = new Room("garden", 0);
    room.receive({ type: "joined", local: alice("me"), participants: [alice("first")] }, 0);
  });

  it("calls whoever was there first by the plain name", () => {
    expect(room.people[0]?.called).toBe("Alice");
    expect(room.local?.called).toBe("Alice 2");
  });

  it("says which one came, lost the connection, spoke and left", () => {
    room.receive({ type: "participant_joined", participant: alice("third") }, 0);
    expect(room.announcement).toBe("Alice 3 joined.");
    for (const state of ["connected", "interrupted"] as const) {
      room.receive({ type: "connection_changed", identity: "third", state }, 0);
    }
    expect(room.announcement).toBe("Reconnecting to Alice 3.");
    expect(room.trouble(3_000)).toContain("Reconnecting to Alice 3, 3 s.");
    const caption = { final: true, interrupted: false, unspoken: "", segmentId: "S1", listener: "first" };
    room.receive({ type: "caption_received", caption: { ...caption, identity: "third", text: "hi" } }, 0);
    expect(room.lines[0]).toMatchObject({ name: "Alice", called: "Alice 3", listener: { name: "Alice" } });
    room.receive({ type: "participant_left", identity: "third", reason: "left" }, 0);
    expect(room.announcement).toBe("Alice 3 left.");
  });

  it("names them in what Mulisa hears", () => {
    expect(room.everybody.map(({ called }) => called)).toEqual(["you", "Alice"]);
  });
});
