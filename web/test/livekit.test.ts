/** The pure parts of the SFU transport: LiveKit's words in ours, presence, counters. */

import {
  ConnectionQuality,
  DisconnectReason,
  type Participant as LiveKitParticipant,
  ParticipantKind,
} from "livekit-client";
import { describe, expect, it } from "vitest";

import {
  captionOf,
  chatOf,
  connectionState,
  endReason,
  leaveReason,
  participantOf,
  receptionOf,
  routedTrack,
} from "../src/transport/livekit";
import { presenceEvents } from "../src/transport/presence";
import { Tallies, Tally } from "../src/transport/tally";
import { MAX_CHAT_CHARS, receptionText } from "../src/transport/text";
import type { Participant } from "../src/transport/types";

interface Given {
  name?: string | undefined;
  kind?: ParticipantKind;
  isMuted?: boolean;
  attributes?: Record<string, string>;
}

function remote({ name = "Bob", kind, isMuted, attributes = {} }: Given = {}): LiveKitParticipant {
  return {
    sid: "PA_bob",
    identity: "bob",
    name,
    kind: kind ?? ParticipantKind.STANDARD,
    attributes,
    getTrackPublication: () => (isMuted === undefined ? undefined : { isMuted }),
  } as unknown as LiveKitParticipant;
}

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

describe("a participant of LiveKit", () => {
  it("is one of ours", () => {
    expect(participantOf(remote({ isMuted: false, attributes: { a: "1" } }))).toEqual({
      sid: "PA_bob",
      identity: "bob",
      name: "Bob",
      kind: "standard",
      muted: false,
      attributes: { a: "1" },
    });
  });

  it("is called by its identity if it has no name", () => {
    expect(participantOf(remote({ name: "" })).name).toBe("bob");
  });

  it("is muted when its microphone is, or when it publishes none", () => {
    expect(participantOf(remote({ isMuted: true })).muted).toBe(true);
    expect(participantOf(remote()).muted).toBe(true);
  });

  it("is never muted as an agent, which mutes its track to save work", () => {
    const agent = participantOf(remote({ kind: ParticipantKind.AGENT, isMuted: true }));
    expect(agent).toMatchObject({ kind: "agent", muted: false });
  });
});

describe("the end of a stay", () => {
  it.each([
    [DisconnectReason.CLIENT_INITIATED, "left"],
    [DisconnectReason.DUPLICATE_IDENTITY, "replaced"],
    [DisconnectReason.PARTICIPANT_REMOVED, "removed"],
    [DisconnectReason.ROOM_DELETED, "room_closed"],
    [DisconnectReason.ROOM_CLOSED, "room_closed"],
  ] as const)("%s is for good: %s", (reason, ours) => {
    expect(endReason(reason)).toBe(ours);
  });

  it.each([
    undefined,
    DisconnectReason.UNKNOWN_REASON,
    DisconnectReason.SERVER_SHUTDOWN,
    DisconnectReason.STATE_MISMATCH,
    DisconnectReason.JOIN_FAILURE,
    DisconnectReason.SIGNAL_CLOSE,
  ])("%s is one to come back from", (reason) => {
    expect(endReason(reason)).toBeNull();
  });

  it("of somebody else has a reason, too", () => {
    expect(leaveReason(undefined)).toBe("left");
    expect(leaveReason(DisconnectReason.CLIENT_INITIATED)).toBe("left");
    expect(leaveReason(DisconnectReason.DUPLICATE_IDENTITY)).toBe("replaced");
    expect(leaveReason(DisconnectReason.PARTICIPANT_REMOVED)).toBe("removed");
    expect(leaveReason(DisconnectReason.SIGNAL_CLOSE)).toBe("vanished");
  });
});

it("only a lost connection is an interrupted one", () => {
  expect(connectionState(ConnectionQuality.Unknown)).toBeNull();
  expect(connectionState(ConnectionQuality.Lost)).toBe("interrupted");
  expect(connectionState(ConnectionQuality.Poor)).toBe("connected");
  expect(connectionState(ConnectionQuality.Excellent)).toBe("connected");
});

describe("text streams", () => {
  it("of an agent are captions", () => {
    const attributes = {
      "lk.segment_id": "S1",
      "lk.transcription_final": "true",
      "mulisa.identity": "bob",
      "mulisa.interrupted": "true",
      "mulisa.unspoken": "there",
      "mulisa.listener": "alice",
    };
    expect(captionOf("mulisa", "hello", attributes)).toEqual({
      segmentId: "S1",
      identity: "bob",
      text: "hello",
      final: true,
      interrupted: true,
      unspoken: "there",
      listener: "alice",
    });
  });

  it("of an agent that knows nothing of ours are captions of its own words", () => {
    const attributes = { "lk.segment_id": "S1", "lk.transcription_final": "false" };
    expect(captionOf("agent-1", "hello", attributes)).toMatchObject({
      identity: "agent-1",
      final: false,
      interrupted: false,
      unspoken: "",
      listener: null,
    });
  });

  it("are dropped when they are no captions or too long", () => {
    expect(captionOf("agent-1", "hello", {})).toBeNull();
    expect(captionOf("agent-1", "x".repeat(20_000), { "lk.segment_id": "S1" })).toBeNull();
  });

  it("of people are typed messages", () => {
    expect(chatOf("1-a", "hi", {})).toEqual({ id: "1-a", text: "hi", listener: null });
    const whispered = chatOf("1", "hi", { "mulisa.listener": "alice" });
    expect(whispered?.listener).toBe("alice");
    expect(chatOf("not ours!", "hi", {})).toBeNull();
    expect(chatOf("1", "", {})).toBeNull();
    expect(chatOf("1", "x".repeat(MAX_CHAT_CHARS + 1), {})).toBeNull();
  });
});

describe("data packets", () => {
  it("say whom somebody hears", () => {
    expect(receptionOf(bytes(receptionText(["bob"])))).toEqual(["bob"]);
    expect(receptionOf(bytes('{"heard":[]}'))).toEqual([]);
  });

  it.each(["", "[", "null", "1", "{}", '{"heard":[1]}', `{"heard":["${"x".repeat(20_000)}"]}`])(
    "are dropped when they say something else: %.20s",
    (text) => {
      expect(receptionOf(bytes(text))).toBeNull();
    },
  );
});

it("a call names the track it is about", () => {
  expect(routedTrack('{"track":"TR_1"}')).toBe("TR_1");
  for (const bad of ["", "[]", "null", "{}", '{"track":1}']) expect(routedTrack(bad)).toBeNull();
});

describe("presence", () => {
  const person = (identity: string, more: Partial<Participant> = {}): Participant => {
    const rest = { name: identity, kind: "standard", muted: false, attributes: {} } as const;
    return { sid: `PA_${identity}`, identity, ...rest, ...more };
  };
  const people = (...all: Participant[]) => new Map(all.map((each) => [each.identity, each]));
  const changes = (before: Participant[], now: Participant[]) =>
    presenceEvents(people(...before), people(...now), (sid) => (sid === "PA_2" ? "removed" : "left"));

  it("that does not change is not reported", () => {
    const [bob, again] = [person("bob", { attributes: { a: "1" } }), person("bob", { attributes: { a: "1" } })];
    expect(changes([bob], [again])).toEqual([]);
  });

  it("tells who came and who left, and why", () => {
    const [bob, carol] = [person("bob", { sid: "PA_2" }), person("carol")];
    expect(changes([bob], [carol])).toEqual([
      { type: "participant_left", identity: "bob", reason: "removed" },
      { type: "participant_joined", participant: carol },
    ]);
  });

  it("tells a new stay of the same person as leaving and joining", () => {
    const [former, next] = [person("bob"), person("bob", { sid: "PA_3" })];
    expect(changes([former], [next]).map(({ type }) => type)).toEqual([
      "participant_left",
      "participant_joined",
    ]);
  });

  it.each([{ name: "Bobby" }, { muted: true }, { attributes: { a: "2" } }, { attributes: { b: "1" } }, { attributes: {} }])(
    "tells a change: %o",
    (change) => {
      const before = person("bob", { attributes: { a: "1" } });
      const now = { ...before, ...change };
      expect(changes([before], [now])).toEqual([{ type: "participant_updated", participant: now }]);
    },
  );
});

describe("a tally", () => {
  const stream = (ssrc: number, packetsReceived: number, bytesReceived: number) =>
    [`in${ssrc}`, { type: "inbound-rtp", kind: "audio", ssrc, packetsReceived, bytesReceived }] as const;

  it("is empty until a stream was seen", () => {
    const tally = new Tally();
    tally.count([["x", { type: "inbound-rtp", kind: "video", ssrc: 1, packetsReceived: 5 }]]);
    tally.count([["x", { type: "outbound-rtp", kind: "audio", ssrc: 1 }]]);
    expect(tally.total).toBeNull();
  });

  it("adds up streams, connections and counters that begin anew", () => {
    const tally = new Tally();
    tally.count([stream(1, 10, 100)]);
    tally.count([stream(1, 15, 150), stream(2, 1, 10)]);
    expect(tally.total).toEqual({ packets: 16, bytes: 160 });
    tally.count([stream(2, 4, 40)]);
    tally.count([stream(1, 2, 20)]);
    expect(tally.total).toEqual({ packets: 21, bytes: 210 });
    tally.count([stream(1, 2, 20)]);
    expect(tally.total).toEqual({ packets: 21, bytes: 210 });
  });

  it("is kept for each participant", () => {
    const tallies = new Tallies();
    tallies.of("bob").count([stream(1, 10, 100)]);
    expect(tallies.of("bob").total?.packets).toBe(10);
    expect(tallies.of("carol").total).toBeNull();
  });
});
