/** The SFU transport over a stand-in for livekit-client's Room. */

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { type Admission, Refusal } from "../src/api";
import { SFUTransport } from "../src/transport/sfu";
import type { TransportEvent } from "../src/transport/types";

type Handler = (...args: never[]) => unknown;

/** What a text stream's handler is given to read from. */
class FakeReader {
  end!: (text: string) => void;
  #fail!: (reason: Error) => void;
  readonly #text = new Promise<string>((resolve, reject) => {
    this.end = resolve;
    this.#fail = reject;
  });
  readonly info: { id: string; attributes: Record<string, string> };

  constructor(id: string, attributes: Record<string, string> = {}) {
    this.info = { id, attributes };
  }
  readAll(): Promise<string> {
    return this.#text;
  }
  break(): void {
    this.#fail(new Error("the sender left"));
  }
}

const { FakeRoom, FakeLocalAudioTrack } = vi.hoisted(() => {
  class Emitter {
    readonly #handlers = new Map<string, Handler[]>();
    on(event: string, handler: Handler): this {
      this.#handlers.set(event, [...(this.#handlers.get(event) ?? []), handler]);
      return this;
    }
    emit(event: string, ...args: unknown[]): void {
      for (const handler of this.#handlers.get(event) ?? []) handler(...(args as never[]));
    }
  }

  class FakeLocalAudioTrack {
    isMuted = false;
    constructor(public mediaStreamTrack: unknown) {}
    mute(): Promise<void> {
      this.isMuted = true;
      return Promise.resolve();
    }
    unmute(): Promise<void> {
      this.isMuted = false;
      return Promise.resolve();
    }
    replaceTrack(track: unknown): Promise<void> {
      this.mediaStreamTrack = track;
      return Promise.resolve();
    }
  }

  class FakeLocalParticipant extends Emitter {
    sid = "PA_alice";
    identity = "alice";
    name = "Alice";
    kind = 0;
    attributes = {};
    audioTrack: FakeLocalAudioTrack | undefined;
    refusesToPublish = false;
    refusesText = false;
    readonly published: { muted: boolean }[] = [];
    readonly sent: unknown[] = [];
    getTrackPublication() {
      return this.audioTrack && { audioTrack: this.audioTrack, isMuted: this.audioTrack.isMuted };
    }
    publishTrack(track: FakeLocalAudioTrack): Promise<void> {
      if (this.refusesToPublish) return Promise.reject(new Error("no permission"));
      this.published.push({ muted: track.isMuted });
      this.audioTrack = track;
      return Promise.resolve();
    }
    unpublishTrack(): Promise<void> {
      this.audioTrack = undefined;
      return Promise.resolve();
    }
    streamText(options: unknown) {
      if (this.refusesText) return Promise.reject(new Error("no connection"));
      const write = (text: string) => {
        this.sent.push([options, text]);
        return Promise.resolve();
      };
      return Promise.resolve({ write, close: () => Promise.resolve() });
    }
    publishData(payload: Uint8Array, options: unknown): Promise<void> {
      this.sent.push([options, JSON.parse(new TextDecoder().decode(payload))]);
      return Promise.resolve();
    }
  }

  class FakeRoom extends Emitter {
    static all: FakeRoom[] = [];
    static refuses = false;
    state = "disconnected";
    readonly localParticipant = new FakeLocalParticipant();
    readonly remoteParticipants = new Map<string, unknown>();
    readonly streams = new Map<string, (reader: unknown, from: { identity: string }) => void>();
    readonly methods = new Map<string, (call: { payload: string }) => Promise<string>>();
    readonly connections: unknown[][] = [];
    readonly left: unknown[][] = [];

    constructor() {
      super();
      FakeRoom.all.push(this);
    }
    connect(...args: unknown[]): Promise<void> {
      this.connections.push(args);
      if (!FakeRoom.refuses) return Promise.resolve();
      this.emit("disconnected", 7);
      return Promise.reject(new Error("could not establish signal connection"));
    }
    disconnect(...args: unknown[]): Promise<void> {
      this.left.push(args);
      this.state = "disconnected";
      return Promise.resolve();
    }
    registerTextStreamHandler(topic: string, handler: never): void {
      this.streams.set(topic, handler);
    }
    registerRpcMethod(method: string, handler: never): void {
      this.methods.set(method, handler);
    }

    become(state: string, event: string, ...args: unknown[]): void {
      this.state = state;
      this.emit(event, ...args);
    }
    write(topic: string, reader: unknown, identity: string): void {
      this.streams.get(topic)?.(reader, { identity });
    }
    call(method: string, payload: string): Promise<string> {
      const handler = this.methods.get(method);
      return handler === undefined ? Promise.reject(new Error(method)) : handler({ payload });
    }
  }

  return { FakeRoom, FakeLocalAudioTrack };
});

vi.mock("livekit-client", async (importOriginal) => ({
  ...(await importOriginal<object>()),
  Room: FakeRoom,
  LocalAudioTrack: FakeLocalAudioTrack,
}));

const AGENT = 4;

function remote(identity: string, kind = 0) {
  const name = identity.charAt(0).toUpperCase() + identity.slice(1);
  return {
    sid: `PA_${identity}`,
    identity,
    name,
    kind,
    attributes: {} as Record<string, string>,
    audioLevel: 0.25,
    trackPublications: new Map<string, unknown>(),
    getTrackPublication: () => ({ isMuted: false }),
  };
}

function audioTrack(level?: number, packetsReceived = 0) {
  const report = { type: "inbound-rtp", kind: "audio", ssrc: 1, packetsReceived, bytesReceived: 9 };
  const receiver = {
    getSynchronizationSources: () => [{ audioLevel: level }],
    getStats: () => Promise.resolve(new Map([["in", report]])),
  };
  return { kind: "audio", mediaStreamTrack: {}, receiver };
}

let events: TransportEvent[];
let admissions: (() => Promise<Admission>)[];
let transport: SFUTransport;

function admission(token = "t"): Promise<Admission> {
  return Promise.resolve({ url: "ws://sfu", token } as Admission);
}

function create(relayOnly = false): SFUTransport {
  return new SFUTransport({
    admit: () => (admissions.shift() ?? admission)(),
    receive: (event) => events.push(event),
    relayOnly,
    context: {} as AudioContext,
  });
}

async function settle(): Promise<void> {
  await vi.advanceTimersByTimeAsync(0);
}

function lastRoom(): InstanceType<typeof FakeRoom> {
  const room = FakeRoom.all.at(-1);
  if (room === undefined) throw new Error("no room was made");
  return room;
}

type Remote = ReturnType<typeof remote>;

async function join(...present: Remote[]): Promise<InstanceType<typeof FakeRoom>> {
  transport.join();
  await settle();
  return enter(...present);
}

async function enter(...present: Remote[]): Promise<InstanceType<typeof FakeRoom>> {
  const room = lastRoom();
  for (const each of present) room.remoteParticipants.set(each.identity, each);
  room.emit("signalConnected");
  room.become("connected", "connected");
  await settle();
  return room;
}

function told<T extends TransportEvent["type"]>(type: T): Extract<TransportEvent, { type: T }>[] {
  return events.filter((event): event is Extract<TransportEvent, { type: T }> => event.type === type);
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal(
    "MediaStream",
    class {
      constructor(readonly tracks: unknown[] = []) {}
    },
  );
  vi.spyOn(console, "warn").mockReturnValue();
  vi.spyOn(console, "debug").mockReturnValue();
  FakeRoom.all = [];
  FakeRoom.refuses = false;
  events = [];
  admissions = [];
  transport = create();
});

afterEach(() => {
  transport.leave();
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

describe("joining", () => {
  it("tells who is there, all of them connected, and listens to agents from the beginning", async () => {
    const room = await join(remote("bob"), remote("mulisa", AGENT));
    expect(room.connections).toMatchObject([["ws://sfu", "t", { rtcConfig: {} }]]);
    expect(events.map(({ type }) => type)).toEqual([
      "joined",
      "connection_changed",
      "track_subscribed",
      "connection_changed",
    ]);
    expect(told("joined")[0]).toMatchObject({
      local: { identity: "alice" },
      participants: [{ identity: "bob" }, { identity: "mulisa", kind: "agent" }],
    });
    expect(told("track_subscribed")[0]).toMatchObject({ identity: "mulisa", several: true });
  });

  it("uses relays only if asked to", async () => {
    transport = create(true);
    const room = await join();
    expect(room.connections[0]?.[2]).toMatchObject({ rtcConfig: { iceTransportPolicy: "relay" } });
  });

  it("goes on trying while the SFU is out of reach", async () => {
    FakeRoom.refuses = true;
    transport.join();
    await settle();
    expect(events).toEqual([{ type: "signaling_lost" }]);
    FakeRoom.refuses = false;
    await vi.advanceTimersByTimeAsync(700);
    expect(FakeRoom.all).toHaveLength(2);
    await enter();
    expect(told("joined")).toHaveLength(1);
  });

  it("ends when the gateway refuses", async () => {
    admissions.push(() => Promise.reject(new Refusal("full", "full")));
    transport.join();
    await settle();
    expect(events).toEqual([{ type: "ended", reason: "full" }]);
  });

  it("receives no video", async () => {
    const bob = remote("bob");
    const video = { kind: "video", setSubscribed: vi.fn() };
    const audio = { kind: "audio", setSubscribed: vi.fn() };
    bob.trackPublications.set("TR_V", video).set("TR_A", audio);
    const room = await join(bob);
    const later = { kind: "video", setSubscribed: vi.fn() };
    room.emit("trackPublished", later, bob);
    expect(video.setSubscribed).toHaveBeenCalledExactlyOnceWith(false);
    expect(later.setSubscribed).toHaveBeenCalledExactlyOnceWith(false);
    expect(audio.setSubscribed).not.toHaveBeenCalled();
  });
});

describe("leaving", () => {
  it("leaves the microphone on and reports nothing any more", async () => {
    const room = await join(remote("bob"));
    events = [];
    transport.leave();
    room.emit("disconnected", 1);
    room.emit("signalReconnecting");
    await vi.advanceTimersByTimeAsync(60_000);
    expect(room.left).toContainEqual([false]);
    expect(events).toEqual([]);
    expect(FakeRoom.all).toHaveLength(1);
  });

  it("while the token is on its way joins nothing", async () => {
    transport.join();
    transport.leave();
    await settle();
    expect(FakeRoom.all).toEqual([]);
  });

  it.each([
    [2, "replaced"],
    [4, "removed"],
    [5, "room_closed"],
  ] as const)("is for good when LiveKit's reason is %i", async (reason, ours) => {
    const room = await join();
    room.become("disconnected", "disconnected", reason);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(events.at(-1)).toEqual({ type: "ended", reason: ours });
    expect(FakeRoom.all).toHaveLength(1);
  });
});

describe("coming back", () => {
  it("happens with a fresh token when LiveKit has given up", async () => {
    const room = await join();
    admissions.push(() => admission("fresh"));
    room.become("disconnected", "disconnected", 3);
    expect(events.at(-1)).toEqual({ type: "signaling_lost" });
    await vi.advanceTimersByTimeAsync(700);
    expect(lastRoom().connections).toMatchObject([["ws://sfu", "fresh", {}]]);
    await enter(remote("bob"));
    expect(told("joined")).toHaveLength(2);
  });

  it("finds its own former stay where the room seems full", async () => {
    const room = await join();
    admissions.push(() => Promise.reject(new Refusal("full", "full")));
    room.become("disconnected", "disconnected", 3);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(told("ended")).toEqual([]);
    await enter();
    expect(told("joined")).toHaveLength(2);
  });

  it("by LiveKit's own means takes nobody for gone", async () => {
    const bob = remote("bob");
    const room = await join(bob);
    events = [];
    // As livekit-client does it: everybody is gone, and only then it says why.
    room.remoteParticipants.clear();
    room.emit("participantDisconnected", bob, undefined);
    room.become("reconnecting", "reconnecting");
    await settle();
    expect(events).toEqual([
      { type: "signaling_lost" },
      { type: "connection_changed", identity: "bob", state: "interrupted" },
    ]);
    room.remoteParticipants.set("bob", { ...bob, sid: "PA_bob2" });
    room.become("connected", "reconnected");
    await settle();
    expect(events.slice(2)).toMatchObject([
      { type: "joined", participants: [{ sid: "PA_bob2" }] },
      { type: "connection_changed", identity: "bob", state: "connected" },
    ]);
  });

  it("after a cut socket alone tells that voices still come", async () => {
    const room = await join(remote("bob"));
    events = [];
    room.become("signalReconnecting", "signalReconnecting");
    expect(events).toEqual([{ type: "signaling_lost" }]);
  });
});

describe("presence", () => {
  it("tells who comes, changes and goes", async () => {
    const room = await join();
    events = [];
    const bob = remote("bob");
    room.remoteParticipants.set("bob", bob);
    room.emit("participantConnected", bob);
    await settle();
    bob.attributes["lk.agent.state"] = "speaking";
    room.emit("participantAttributesChanged", {}, bob);
    await settle();
    room.remoteParticipants.delete("bob");
    room.emit("participantDisconnected", bob, 4);
    await settle();
    expect(events).toMatchObject([
      { type: "participant_joined" },
      { type: "connection_changed", state: "connected" },
      { type: "participant_updated", participant: { attributes: { "lk.agent.state": "speaking" } } },
      { type: "participant_left", identity: "bob", reason: "removed" },
    ]);
  });

  it("tells whose connection is lost and found", async () => {
    const room = await join(remote("bob"));
    events = [];
    room.emit("connectionQualityChanged", "lost", { identity: "bob" });
    room.emit("connectionQualityChanged", "good", { identity: "bob" });
    room.emit("connectionQualityChanged", "unknown", { identity: "bob" });
    room.emit("connectionQualityChanged", "lost", { identity: "alice" });
    expect(events).toEqual([
      { type: "connection_changed", identity: "bob", state: "interrupted" },
      { type: "connection_changed", identity: "bob", state: "connected" },
    ]);
  });
});

describe("the microphone", () => {
  const [first, second] = [{ id: "1" }, { id: "2" }] as MediaStreamTrack[];

  it("is published once we are in, muted if it is", async () => {
    transport.setTrack(first ?? null);
    transport.setMuted(true);
    const { localParticipant: local } = await join();
    expect(local.published).toEqual([{ muted: true }]);
    transport.setMuted(false);
    await settle();
    expect(local.audioTrack?.isMuted).toBe(false);
  });

  it("is published with the connection, not after it, and once", async () => {
    transport.setTrack(first ?? null);
    transport.join();
    await settle();
    const { localParticipant: local } = lastRoom();
    expect(local.published).toEqual([]);
    lastRoom().emit("signalConnected");
    await settle();
    expect(local.published).toHaveLength(1);
    expect(told("joined")).toEqual([]);
    await enter();
    expect(local.published).toHaveLength(1);
  });

  it("is left to LiveKit while that comes back by its own means", async () => {
    transport.setTrack(first ?? null);
    const room = await join();
    room.localParticipant.audioTrack = undefined; // about to be published again
    room.emit("signalConnected");
    await settle();
    expect(room.localParticipant.published).toHaveLength(1);
  });

  it("is replaced without being published anew, and taken back", async () => {
    transport.setTrack(first ?? null);
    const { localParticipant: local } = await join();
    transport.setTrack(second ?? null);
    await settle();
    expect(local.published).toHaveLength(1);
    expect(local.audioTrack?.mediaStreamTrack).toBe(second);
    transport.setTrack(null);
    await settle();
    expect(local.audioTrack).toBeUndefined();
  });

  it("that cannot be published is tried again with the next wish, not for ever", async () => {
    transport.setTrack(first ?? null);
    transport.join();
    await settle();
    const { localParticipant: local } = lastRoom();
    local.refusesToPublish = true;
    await enter();
    expect(local.published).toEqual([]);
    local.refusesToPublish = false;
    transport.setMuted(true);
    await settle();
    expect(local.published).toEqual([{ muted: true }]);
  });

  it("that is pulled out is not muted by it: the next one is heard", async () => {
    transport.setTrack({ readyState: "ended" } as MediaStreamTrack);
    const { localParticipant: local } = await join();
    await local.audioTrack?.mute(); // LiveKit mutes a track of ours that ends
    local.emit("trackMuted");
    await settle();
    expect(told("muted_by_host")).toEqual([]);
    transport.setTrack(second ?? null);
    await settle();
    expect(local.audioTrack).toMatchObject({ mediaStreamTrack: second, isMuted: false });
  });

  it("may be muted by a host, and stays muted", async () => {
    transport.setTrack(first ?? null);
    const { localParticipant: local } = await join();
    await local.audioTrack?.mute();
    local.emit("trackMuted");
    await settle();
    expect(told("muted_by_host")).toHaveLength(1);
    expect(local.audioTrack?.isMuted).toBe(true);
    transport.setMuted(true);
    await settle();
    local.emit("trackMuted");
    expect(told("muted_by_host")).toHaveLength(1);
  });
});

describe("voices", () => {
  it("of an agent are one stream, which outlives its tracks", async () => {
    const mulisa = remote("mulisa", AGENT);
    const room = await join(mulisa);
    const [voice, whisper] = [audioTrack(), audioTrack()];
    room.emit("trackSubscribed", voice, { trackSid: "TR_1" }, mulisa);
    room.emit("trackSubscribed", whisper, { trackSid: "TR_2" }, mulisa);
    room.emit("trackUnsubscribed", voice, { trackSid: "TR_1" }, mulisa);
    room.emit("trackUnsubscribed", whisper, { trackSid: "TR_2" }, mulisa);
    const heard = told("track_subscribed").map(({ stream, several }) => {
      expect(several).toBe(true);
      return (stream as unknown as { tracks: unknown[] }).tracks;
    });
    const [a, b] = [voice.mediaStreamTrack, whisper.mediaStreamTrack];
    expect(heard).toEqual([[], [a], [a, b], [b], []]);
    expect(told("track_unsubscribed")).toEqual([]);
  });

  it("of a person end with the track", async () => {
    const bob = remote("bob");
    const room = await join(bob);
    room.emit("trackSubscribed", audioTrack(), { trackSid: "TR_1" }, bob);
    expect(told("track_subscribed")).toMatchObject([{ identity: "bob", several: false }]);
    room.emit("trackUnsubscribed", {}, { trackSid: "TR_1" }, bob);
    expect(told("track_unsubscribed")).toEqual([{ type: "track_unsubscribed", identity: "bob" }]);
  });

  it("come after the person they are of", async () => {
    const room = await join();
    events = [];
    const bob = remote("bob");
    room.remoteParticipants.set("bob", bob);
    room.emit("trackSubscribed", audioTrack(), { trackSid: "TR_1" }, bob);
    expect(events.map(({ type }) => type)).toEqual([
      "participant_joined",
      "connection_changed",
      "track_subscribed",
    ]);
  });

  it("are measured at their receivers, over all stays", async () => {
    const bob = remote("bob");
    const room = await join(bob);
    expect(transport.audioLevel("carol")).toBeNull();
    expect(await transport.received("bob")).toBeNull();
    room.emit("trackSubscribed", audioTrack(), { trackSid: "TR_0" }, bob);
    expect(transport.audioLevel("bob")).toBe(0.25); // as the SFU told
    room.emit("trackSubscribed", audioTrack(0.5, 10), { trackSid: "TR_1" }, bob);
    expect(transport.audioLevel("bob")).toBe(0.5);
    expect((await transport.received("bob"))?.packets).toBe(10);
    room.become("disconnected", "disconnected", 3);
    expect((await transport.received("bob"))?.packets).toBe(10);
  });
});

describe("an agent's question whether its track still comes", () => {
  const ask = (payload = '{"track":"TR_1"}') => lastRoom().call("mulisa.routed", payload);

  it("is answered at once for a track that does not", async () => {
    await join();
    expect(await ask()).toBe("ok");
  });

  it("is answered when it has ceased, and not before", async () => {
    const mulisa = remote("mulisa", AGENT);
    const room = await join(mulisa);
    room.emit("trackSubscribed", audioTrack(), { trackSid: "TR_1" }, mulisa);
    room.emit("trackSubscribed", audioTrack(), { trackSid: "TR_2" }, mulisa);
    const answered = vi.fn();
    const asked = ask().then(answered);
    room.emit("trackUnsubscribed", {}, { trackSid: "TR_2" }, mulisa);
    await vi.advanceTimersByTimeAsync(4_000);
    expect(answered).not.toHaveBeenCalled();
    room.emit("trackUnsubscribed", {}, { trackSid: "TR_1" }, mulisa);
    await asked;
    expect(answered).toHaveBeenCalledExactlyOnceWith("ok");
  });

  it("is an error if it does not cease, or if it is no question", async () => {
    const mulisa = remote("mulisa", AGENT);
    const room = await join(mulisa);
    room.emit("trackSubscribed", audioTrack(), { trackSid: "TR_1" }, mulisa);
    const asked = expect(ask()).rejects.toMatchObject({ code: 2001 });
    await vi.advanceTimersByTimeAsync(5_000);
    await asked;
    await expect(ask("TR_1")).rejects.toMatchObject({ code: 2000 });
  });
});

describe("text", () => {
  const segment = (id: string, more: Record<string, string> = {}) =>
    new FakeReader("ST_1", { "lk.segment_id": id, "lk.transcription_final": "false", ...more });

  it("of an agent is captions, in the order in which they were sent", async () => {
    const room = await join(remote("mulisa", AGENT));
    const [interim, final] = [segment("S1"), segment("S1", { "lk.transcription_final": "true" })];
    room.write("lk.transcription", interim, "mulisa");
    room.write("lk.transcription", final, "mulisa");
    final.end("hello world");
    await settle();
    expect(told("caption_received")).toEqual([]);
    interim.end("hello");
    await settle();
    expect(told("caption_received").map(({ caption }) => caption.text)).toEqual([
      "hello",
      "hello world",
    ]);
  });

  it("that never ends holds no other segment up, and none of its own once it broke", async () => {
    const room = await join(remote("mulisa", AGENT));
    const [broken, next, other] = [segment("S1"), segment("S1"), segment("S2")];
    for (const reader of [broken, next, other]) room.write("lk.transcription", reader, "mulisa");
    next.end("next");
    other.end("other");
    await settle();
    expect(told("caption_received").map(({ caption }) => caption.text)).toEqual(["other"]);
    broken.break();
    await settle();
    expect(told("caption_received").map(({ caption }) => caption.text)).toEqual(["other", "next"]);
  });

  it("of a person captions nobody else", async () => {
    const room = await join(remote("bob"), remote("mulisa", AGENT));
    const [forged, own] = [segment("S1", { "mulisa.identity": "mulisa" }), segment("S2")];
    room.write("lk.transcription", forged, "bob");
    room.write("lk.transcription", own, "bob");
    forged.end("I am Mulisa");
    own.end("written by an agent in the name of Bob");
    await settle();
    expect(told("caption_received").map(({ caption }) => caption.identity)).toEqual(["bob"]);
  });

  it("that is typed comes as often as a person can type", async () => {
    const room = await join(remote("bob"));
    for (let n = 0; n < 40; n += 1) {
      const reader = new FakeReader(`m${n}`);
      room.write("lk.chat", reader, "bob");
      reader.end("hi");
    }
    await settle();
    expect(told("chat_received")).toHaveLength(30);
    expect(told("chat_received")[0]).toEqual({
      type: "chat_received",
      identity: "bob",
      id: "m0",
      text: "hi",
      listener: null,
    });
  });

  it("of somebody else that never ends holds no caption of an agent up", async () => {
    const room = await join(remote("bob"), remote("mulisa", AGENT));
    room.write("lk.transcription", segment("S1"), "bob");
    const hers = segment("S1");
    room.write("lk.transcription", hers, "mulisa");
    hers.end("hello");
    await settle();
    expect(told("caption_received").map(({ caption }) => caption.text)).toEqual(["hello"]);
  });

  it("of ours that could not be sent goes when we are back, and once", async () => {
    const room = await join();
    room.localParticipant.refusesText = true;
    transport.sendChat("m1", "hi");
    await settle();
    room.localParticipant.refusesText = false;
    room.become("connected", "reconnected");
    await settle();
    expect(room.localParticipant.sent).toEqual([[{ topic: "lk.chat", streamId: "m1" }, "hi"]]);

    room.become("disconnected", "disconnected", 0);
    transport.sendChat("m2", "still there?");
    await vi.advanceTimersByTimeAsync(1_000);
    const { localParticipant } = await enter();
    await settle();
    expect(localParticipant.sent).toEqual([
      [{ topic: "lk.chat", streamId: "m2" }, "still there?"],
    ]);
  });

  it("of ours goes to everybody under its own id", async () => {
    transport.sendChat("early", "lost");
    const { localParticipant: local } = await join();
    transport.sendChat("m1", "hi");
    await settle();
    expect(local.sent).toEqual([[{ topic: "lk.chat", streamId: "m1" }, "hi"]]);
  });
});

it("reception is told, and heard of others", async () => {
  const bob = remote("bob");
  const room = await join(bob);
  transport.sendReception(["bob"]);
  await settle();
  expect(room.localParticipant.sent).toMatchObject([
    [{ reliable: false, topic: "mulisa.reception" }, { heard: ["bob"] }],
  ]);
  const payload = new TextEncoder().encode('{"heard":["alice"]}');
  room.emit("dataReceived", payload, bob, 1, "other");
  room.emit("dataReceived", payload, undefined, 1, "mulisa.reception");
  room.emit("dataReceived", payload, bob, 1, "mulisa.reception");
  expect(told("reception_received")).toEqual([
    { type: "reception_received", identity: "bob", heard: ["alice"] },
  ]);
  room.localParticipant.publishData = () => Promise.reject(new Error("no connection"));
  transport.sendReception(["bob"]);
  await settle();
  room.become("reconnecting", "reconnecting");
  transport.sendReception(["bob"]);
  await settle();
  expect(room.localParticipant.sent).toHaveLength(1);
});
