/** The mesh transport over small stand-ins for the browser's WebSocket and RTCPeerConnection. */

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { type Admission, Refusal } from "../src/api";
import { MeshTransport } from "../src/transport/mesh";
import type { FromClient, FromGateway } from "../src/transport/signaling";
import type { Participant, TransportEvent } from "../src/transport/types";

class FakeSocket {
  static readonly OPEN = 1;
  static all: FakeSocket[] = [];
  /** Answers pings. */
  static isAlive = true;
  readyState = 1;
  readonly sent: FromClient[] = [];
  onmessage: ((event: { data: string }) => void) | null = null;
  onclose: (() => void) | null = null;

  constructor(readonly url: string) {
    FakeSocket.all.push(this);
  }

  send(data: string): void {
    const message = JSON.parse(data) as FromClient;
    if (message.type !== "ping") this.sent.push(message);
    else if (FakeSocket.isAlive) this.give({ type: "pong", received: 0 });
  }

  close(): void {
    this.readyState = 3;
  }

  /** The gateway sends. */
  give(message: FromGateway): void {
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  break(): void {
    this.readyState = 3;
    this.onclose?.();
  }
}

class FakeConnection {
  static all: FakeConnection[] = [];
  static refusesAnswers = false;
  connectionState: RTCPeerConnectionState = "new";
  localDescription: RTCSessionDescriptionInit | null = null;
  currentLocalDescription: RTCSessionDescriptionInit | null = null;
  currentRemoteDescription: RTCSessionDescriptionInit | null = null;
  onconnectionstatechange: (() => void) | null = null;
  onnegotiationneeded: (() => void) | null = null;
  readonly channel = { readyState: "connecting", sent: [] as string[], onopen: () => undefined };
  readonly sender = { track: null as unknown, replaceTrack: vi.fn(() => Promise.resolve()) };
  readonly transceiver = {
    direction: "recvonly",
    sender: this.sender,
    receiver: { track: { kind: "audio" } },
  };
  closed = false;
  iceRestarts = 0;
  ontrack: ((event: { track: unknown }) => void) | null = null;
  /** Nothing comes from the peer any more, not even STUN. */
  silent = false;
  /** Packets of our voice that leave between two looks. */
  sends = 50;
  #signs = 0;
  #sent = 0;

  getStats() {
    if (!this.silent) this.#signs += 1;
    this.#sent += this.sends;
    return Promise.resolve(
      new Map<string, object>([
        ["T", { type: "transport", packetsReceived: 0 }],
        ["P", { type: "candidate-pair", requestsReceived: this.#signs, responsesReceived: 0 }],
        ["O", { type: "outbound-rtp", packetsSent: this.#sent }],
      ]),
    );
  }

  constructor(public configuration: RTCConfiguration) {
    FakeConnection.all.push(this);
  }
  setConfiguration(configuration: RTCConfiguration) {
    this.configuration = configuration;
  }

  addTransceiver(_: string, { direction }: RTCRtpTransceiverInit) {
    this.transceiver.direction = direction ?? "";
    return this.transceiver;
  }
  getTransceivers() {
    return [this.transceiver];
  }
  /** The peer sends on the data channel. */
  receiveText: (data: string) => void = () => undefined;
  /** The data channel opens. */
  openText: () => void = () => undefined;
  createDataChannel() {
    const receive = (onmessage: (event: { data: string }) => void) => {
      this.receiveText = (data) => onmessage({ data });
    };
    const open = (onopen: () => void) => {
      this.openText = () => {
        channel.readyState = "open";
        onopen();
      };
    };
    const channel = {
      ...this.channel,
      set onmessage(onmessage: (event: { data: string }) => void) {
        receive(onmessage);
      },
      send: (data: string) => this.channel.sent.push(data),
      set onopen(onopen: () => void) {
        open(onopen);
      },
    };
    return channel;
  }
  createOffer() {
    return Promise.resolve({ type: "offer", sdp: `offer ${FakeConnection.all.indexOf(this)}` });
  }
  createAnswer() {
    return Promise.resolve({ type: "answer", sdp: `answer ${FakeConnection.all.indexOf(this)}` });
  }
  setLocalDescription(description: RTCSessionDescriptionInit) {
    this.localDescription = description;
    return Promise.resolve();
  }
  setRemoteDescription(description: RTCSessionDescriptionInit) {
    if (description.type === "answer" && FakeConnection.refusesAnswers) {
      return Promise.reject(new Error("not SDP"));
    }
    this.currentRemoteDescription = description;
    this.currentLocalDescription = this.localDescription;
    return Promise.resolve();
  }
  restartIce() {
    this.iceRestarts += 1;
  }
  close() {
    this.closed = true;
  }

  become(state: RTCPeerConnectionState): void {
    this.connectionState = state;
    this.onconnectionstatechange?.();
  }
}

class FakeStream {
  readonly tracks: unknown[] = [];
  addTrack(track: unknown): void {
    this.tracks.push(track);
  }
}

function participant(name: string, kind: Participant["kind"] = "standard"): Participant {
  const identity = name.toLowerCase();
  return { sid: `PA_${identity}`, identity, name, kind, muted: false, attributes: {} };
}

const ALICE = participant("Alice");
const BOB = participant("Bob");
const MULISA = participant("Mulisa", "agent");

let events: TransportEvent[];
let admissions: (() => Promise<Admission>)[];
let transport: MeshTransport;

function admission(): Promise<Admission> {
  return Promise.resolve({ url: "ws://host", token: "t" } as Admission);
}

/** Let what is ready happen, without letting time pass. */
async function settle(): Promise<void> {
  await vi.advanceTimersByTimeAsync(0);
}

async function join(...participants: Participant[]): Promise<FakeSocket> {
  transport.join();
  await settle();
  return enter(ALICE, participants);
}

async function enter(local: Participant, participants: Participant[]): Promise<FakeSocket> {
  const socket = FakeSocket.all.at(-1);
  if (socket === undefined) throw new Error("no socket was opened");
  socket.give({ type: "joined", participant: local, participants, ice_servers: [] });
  await settle();
  return socket;
}

function sent<T extends FromClient["type"]>(socket: FakeSocket, type: T) {
  return socket.sent.filter((message): message is FromClient & { type: T } => {
    return message.type === type;
  });
}

function states(): string[] {
  return events.flatMap((event) => (event.type === "connection_changed" ? [event.state] : []));
}

function tracks(): unknown[] {
  return events.flatMap((event) => {
    return event.type === "track_subscribed" ? (event.stream as unknown as FakeStream).tracks : [];
  });
}

function types(): string[] {
  return events.map(({ type }) => type);
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("WebSocket", FakeSocket);
  vi.stubGlobal("RTCPeerConnection", FakeConnection);
  vi.stubGlobal("MediaStream", FakeStream);
  vi.stubGlobal("window", new EventTarget());
  vi.stubGlobal("document", Object.assign(new EventTarget(), { visibilityState: "visible" }));
  FakeSocket.all = [];
  FakeSocket.isAlive = true;
  FakeConnection.all = [];
  FakeConnection.refusesAnswers = false;
  events = [];
  admissions = [];
  transport = new MeshTransport({
    admit: () => (admissions.shift() ?? admission)(),
    receive: (event) => events.push(event),
    relayOnly: false,
  });
});

afterEach(() => {
  transport.leave();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("joining", () => {
  it("offers one audio line to everybody who is there, under a name of its own", async () => {
    const socket = await join(BOB, MULISA);
    const offers = sent(socket, "offer");
    expect(offers.map(({ to, sdp }) => [to, sdp])).toEqual([
      ["PA_bob", "offer 0"],
      ["PA_mulisa", "offer 1"],
    ]);
    expect(new Set(offers.map(({ connection }) => connection)).size).toBe(2);
    expect(FakeConnection.all.map((pc) => pc.transceiver.direction)).toEqual([
      "sendrecv",
      "sendrecv",
    ]);
  });

  it("waits for the offer of who comes later, and answers it on the line that is offered", async () => {
    const socket = await join();
    socket.give({ type: "participant_joined", participant: BOB });
    await settle();
    expect(FakeConnection.all).toHaveLength(0);
    socket.give({ type: "offer", from: "PA_bob", connection: "remote01", sdp: "offer" });
    await settle();
    expect(sent(socket, "answer")).toEqual([
      { type: "answer", to: "PA_bob", connection: "remote01", sdp: "answer 0" },
    ]);
    expect(FakeConnection.all[0]?.transceiver.direction).toBe("sendrecv");
  });

  it("uses relays only if it is told to", async () => {
    const ice_servers = [{ urls: "turn:relay.example" }];
    const admit = async () => ({ ...(await admission()), ice_servers });
    transport = new MeshTransport({ admit, receive: () => undefined, relayOnly: true });
    await join(BOB);
    expect(FakeConnection.all[0]?.configuration.iceTransportPolicy).toBe("relay");
  });

  it("gathers with the servers that it was told last", async () => {
    const socket = await join(BOB);
    const ice_servers = [{ urls: "turn:relay.example", username: "later", credential: "c" }];
    socket.give({ type: "ice_servers", ice_servers });
    expect(FakeConnection.all[0]?.configuration.iceServers).toEqual(ice_servers);
    socket.give({ type: "participant_joined", participant: MULISA });
    socket.give({ type: "offer", from: "PA_mulisa", connection: "remote01", sdp: "offer" });
    await settle();
    expect(FakeConnection.all[1]?.configuration.iceServers).toEqual(ice_servers);
  });

  it("reports nothing once it was left, while it was being admitted", async () => {
    const receive = vi.fn();
    const admit = async () => {
      transport.leave(); // the room is one of another topology
      return { ...(await admission()), ice_servers: [] };
    };
    transport = new MeshTransport({ admit, receive, relayOnly: true });
    transport.join();
    await settle();
    expect(receive).not.toHaveBeenCalled();
  });

  it("does not join with relays only where there are none", async () => {
    const receive = vi.fn();
    const ice_servers = [{ urls: "stun:stun.example" }];
    const admit = async () => ({ ...(await admission()), ice_servers });
    transport = new MeshTransport({ admit, receive, relayOnly: true });
    transport.join();
    await settle();
    expect(FakeSocket.all).toHaveLength(0);
    expect(receive).toHaveBeenCalledWith({ type: "ended", reason: "no_relay" });
  });

  it("ignores offers of who is not in the room", async () => {
    const socket = await join();
    socket.give({ type: "offer", from: "PA_nobody", connection: "remote01", sdp: "offer" });
    await settle();
    expect(FakeConnection.all).toHaveLength(0);
  });

  it("tries again while the server is away, and gives up when it is refused", async () => {
    admissions = [
      () => Promise.reject(new Refusal("away", "")),
      () => Promise.reject(new Refusal("full", "")),
    ];
    transport.join();
    await settle();
    expect(types()).toEqual(["signaling_lost"]);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(events.at(-1)).toEqual({ type: "ended", reason: "full" });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(FakeSocket.all).toHaveLength(0);
  });
});

describe("losing the way to the server", () => {
  it("keeps connections until it is back, and then makes them anew", async () => {
    const first = await join(BOB);
    const before = FakeConnection.all[0];
    before?.become("connected");
    first.break();
    expect(events.at(-1)?.type).toBe("signaling_lost");
    await vi.advanceTimersByTimeAsync(5_000);
    expect(FakeSocket.all).toHaveLength(2);
    expect(before?.closed).toBe(false);
    const second = await enter({ ...ALICE, sid: "PA_alice2" }, [BOB]);
    expect(before?.closed).toBe(true);
    expect(sent(second, "offer").map(({ to }) => to)).toEqual(["PA_bob"]);
  });

  it("tells the new stay that it is muted", async () => {
    const first = await join();
    transport.setMuted(true);
    expect(sent(first, "update")).toEqual([{ type: "update", muted: true }]);
    first.break();
    await vi.advanceTimersByTimeAsync(5_000);
    const second = await enter(ALICE, []);
    expect(sent(second, "update")).toEqual([{ type: "update", muted: true }]);
  });

  it("comes back by itself after a shutdown, but not after being replaced", async () => {
    const first = await join();
    first.give({ type: "closing", reason: "shutdown" });
    first.break();
    await vi.advanceTimersByTimeAsync(5_000);
    expect(FakeSocket.all).toHaveLength(2);
    const second = await enter(ALICE, []);
    second.give({ type: "closing", reason: "replaced" });
    second.break();
    expect(events.at(-1)).toEqual({ type: "ended", reason: "replaced" });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(FakeSocket.all).toHaveLength(2);
  });

  it("takes a room that seems full for one that still holds its former place", async () => {
    const first = await join();
    admissions = [() => Promise.reject(new Refusal("full", ""))];
    first.break();
    await vi.advanceTimersByTimeAsync(3_000);
    expect(types()).not.toContain("ended");
    expect(FakeSocket.all).toHaveLength(2);
  });
});

describe("a lost socket", () => {
  /** Bob's connection works; the socket is cut. */
  async function cut(): Promise<FakeConnection | undefined> {
    const first = await join(BOB);
    const [pc] = FakeConnection.all;
    pc?.become("connected");
    first.give({ type: "participant_updated", participant: { ...BOB, muted: true } });
    first.break();
    return pc;
  }

  /** What the page asks for when it comes back. */
  async function back(): Promise<FakeSocket> {
    await vi.advanceTimersByTimeAsync(400);
    const socket = FakeSocket.all.at(-1);
    if (socket === undefined) throw new Error("no socket was opened");
    return socket;
  }

  it("is resumed at once, says what came, and sends what was not acknowledged", async () => {
    const pc = await cut();
    transport.setMuted(true);
    const second = await back();
    const { searchParams } = new URL(second.url);
    expect([searchParams.get("resume"), searchParams.get("received")]).toEqual(["PA_alice", "1"]);
    expect(second.sent).toEqual([]);
    second.give({ type: "resumed", received: 1, ice_servers: [] });
    expect(second.sent).toEqual([{ type: "update", muted: true }]);
    expect(events.at(-1)).toEqual({ type: "signaling_resumed" });
    expect(pc?.closed).toBe(false);
    expect(FakeConnection.all).toHaveLength(1);
  });

  it("that a restarted gateway replaces leaves the connections as they were", async () => {
    const pc = await cut();
    const second = await enter(ALICE, [BOB]).then(() => back());
    second.give({ type: "joined", participant: ALICE, participants: [BOB], ice_servers: [] });
    await vi.advanceTimersByTimeAsync(20_000);
    expect(pc?.closed).toBe(false);
    expect(types()).not.toContain("participant_left");
    expect(sent(second, "offer")).toEqual([]);
  });

  it("after which somebody does not come back: they are gone when their packets end", async () => {
    const pc = await cut();
    const second = await back();
    second.give({ type: "joined", participant: ALICE, participants: [], ice_servers: [] });
    await vi.advanceTimersByTimeAsync(20_000);
    expect(pc?.closed, "they still talk to each other").toBe(false);
    if (pc !== undefined) pc.silent = true;
    await vi.advanceTimersByTimeAsync(6_000);
    expect(pc?.closed).toBe(true);
    expect(events.at(-1)).toEqual({ type: "participant_left", identity: "bob", reason: "vanished" });
  });

  it("after which somebody comes back anew: they get a new connection", async () => {
    const pc = await cut();
    const second = await back();
    const again = { ...BOB, sid: "PA_bob2" };
    second.give({ type: "joined", participant: ALICE, participants: [again], ice_servers: [] });
    await settle();
    expect(pc?.closed).toBe(true);
    expect(sent(second, "offer").map(({ to }) => to)).toEqual(["PA_bob2"]);
    expect(types().slice(-2)).toEqual(["participant_left", "participant_joined"]);
  });

  it("is noticed when nothing comes, and sooner when there is a reason to doubt", async () => {
    await join(BOB);
    await vi.advanceTimersByTimeAsync(30_000);
    expect(FakeSocket.all).toHaveLength(1);
    FakeSocket.isAlive = false;
    await vi.advanceTimersByTimeAsync(4_000);
    expect(types()).not.toContain("signaling_lost");
    await vi.advanceTimersByTimeAsync(4_000);
    expect(FakeSocket.all.length).toBeGreaterThan(1);
    await enter(ALICE, [BOB]);
    FakeSocket.isAlive = true;
    events.length = 0;
    FakeSocket.isAlive = false;
    window.dispatchEvent(new Event("online"));
    await vi.advanceTimersByTimeAsync(2_600);
    expect(types()).toContain("signaling_lost");
  });

  it("is looked for at once when the network is back, however long it was away", async () => {
    const first = await join(BOB);
    admissions = Array.from({ length: 12 }, () => () => Promise.reject(new Refusal("away", "")));
    first.break();
    await vi.advanceTimersByTimeAsync(15_000);
    admissions = [];
    const before = FakeSocket.all.length;
    document.dispatchEvent(new Event("visibilitychange"));
    await settle();
    expect(FakeSocket.all).toHaveLength(before + 1);
  });
});

describe("a broken connection", () => {
  async function answered(...participants: Participant[]): Promise<FakeSocket> {
    const socket = await join(...participants);
    for (const { to, connection } of sent(socket, "offer")) {
      socket.give({ type: "answer", from: to, connection, sdp: "answer" });
    }
    await settle();
    for (const pc of FakeConnection.all) pc.become("connected");
    return socket;
  }

  it("between browsers has a moment to heal, then its ICE is restarted", async () => {
    await answered(BOB);
    const [pc] = FakeConnection.all;
    pc?.become("disconnected");
    expect(events.at(-1)).toMatchObject({ type: "connection_changed", state: "interrupted" });
    await vi.advanceTimersByTimeAsync(400);
    expect(pc?.iceRestarts).toBe(0);
    await vi.advanceTimersByTimeAsync(600);
    expect(pc?.iceRestarts).toBe(1);
    expect(FakeConnection.all).toHaveLength(1);
  });

  it("is noticed by its silence before the browser says so, and once", async () => {
    await answered(BOB);
    const [pc] = FakeConnection.all;
    await vi.advanceTimersByTimeAsync(10_000);
    expect(states()).toEqual(["connected"]);
    if (pc !== undefined) pc.silent = true;
    await vi.advanceTimersByTimeAsync(3_000);
    expect(states()).toEqual(["connected"]);
    await vi.advanceTimersByTimeAsync(2_500);
    expect(states()).toEqual(["connected", "interrupted"]);
    expect(pc?.iceRestarts).toBe(1);
    if (pc !== undefined) pc.silent = false;
    await vi.advanceTimersByTimeAsync(1_000);
    expect(states()).toEqual(["connected", "interrupted", "connected"]);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(pc?.iceRestarts).toBe(1);
  });

  it("is suspected when the network changes, and mended if it is silent since", async () => {
    await answered(BOB);
    const [pc] = FakeConnection.all;
    window.dispatchEvent(new Event("online"));
    await vi.advanceTimersByTimeAsync(5_000);
    expect(states()).toEqual(["connected"]);
    if (pc !== undefined) pc.silent = true;
    window.dispatchEvent(new Event("online"));
    await vi.advanceTimersByTimeAsync(2_100);
    expect(states()).toEqual(["connected", "interrupted"]);
  });

  it("that flaps is mended ever more slowly", async () => {
    await answered(BOB);
    const [pc] = FakeConnection.all;
    for (let round = 0; round < 20; round += 1) {
      pc?.become("disconnected");
      await vi.advanceTimersByTimeAsync(1_000);
      pc?.become("connected");
      await vi.advanceTimersByTimeAsync(1_000);
    }
    expect(pc?.iceRestarts).toBe(1);
  });

  it("that heals alone is left alone", async () => {
    await answered(BOB);
    const [pc] = FakeConnection.all;
    pc?.become("disconnected");
    pc?.become("connected");
    await vi.advanceTimersByTimeAsync(60_000);
    expect(pc?.iceRestarts).toBe(0);
    expect(events.at(-1)).toMatchObject({ type: "connection_changed", state: "connected" });
  });

  it("with an agent is replaced under a new name, and carries on until the other one does", async () => {
    const socket = await answered(MULISA);
    const [former] = FakeConnection.all;
    former?.ontrack?.({ track: "former" });
    former?.become("disconnected");
    await vi.advanceTimersByTimeAsync(5_000);
    const names = sent(socket, "offer").map(({ connection }) => connection);
    expect(names).toHaveLength(2);
    expect(names[0]).not.toBe(names[1]);
    socket.give({ type: "answer", from: "PA_mulisa", connection: names[1] ?? "", sdp: "answer" });
    await settle();
    const [, next] = FakeConnection.all;
    next?.ontrack?.({ track: "next" });
    expect(former?.closed).toBe(false);
    expect(tracks()).toEqual(["former"]);

    former?.become("connected"); // the path returned by itself
    expect(states()).toEqual(["connected", "interrupted", "connected"]);
    expect(transport.connections().get("mulisa")).toBe(former);
    next?.become("connected");
    expect(former?.closed).toBe(true);
    expect(tracks()).toEqual(["former", "next"]);
    expect(states()).toEqual(["connected", "interrupted", "connected"]);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(FakeConnection.all).toHaveLength(2);
    expect(FakeConnection.all.map(({ iceRestarts }) => iceRestarts)).toEqual([0, 0]);
  });

  it("that an agent replaces is not replaced by us as well", async () => {
    const socket = await answered(MULISA);
    const [former] = FakeConnection.all;
    if (former !== undefined) former.silent = true;
    await vi.advanceTimersByTimeAsync(5_000);
    socket.give({ type: "offer", from: "PA_mulisa", connection: "hers0001", sdp: "offer" });
    await vi.advanceTimersByTimeAsync(6_000);
    expect(FakeConnection.all).toHaveLength(2);
    expect(sent(socket, "offer")).toHaveLength(1);
    expect(former?.closed).toBe(false);
  });

  it("is closed at once if it had failed, or never came", async () => {
    const socket = await answered(MULISA);
    FakeConnection.all[0]?.become("failed");
    socket.give({ type: "offer", from: "PA_mulisa", connection: "hers0001", sdp: "offer" });
    await settle();
    expect(FakeConnection.all.map(({ closed }) => closed)).toEqual([true, false]);
    socket.give({ type: "offer", from: "PA_mulisa", connection: "hers0002", sdp: "offer" });
    await settle();
    expect(FakeConnection.all.map(({ closed }) => closed)).toEqual([true, true, false]);
  });

  it("over which we are not heard is named, restarted, then replaced, ever more slowly", async () => {
    const socket = await answered(BOB);
    const reports = async (count: number, ...heard: string[]) => {
      for (let n = 0; n < count; n += 1) {
        await vi.advanceTimersByTimeAsync(1_000);
        const text = JSON.stringify({ topic: "mulisa.reception", heard });
        FakeConnection.all.at(-1)?.receiveText(text);
      }
    };
    await reports(5, "alice");
    await reports(2);
    expect(states()).toEqual(["connected"]);
    await reports(1);
    expect(states()).toEqual(["connected", "unheard"]);
    await settle();
    expect(FakeConnection.all[0]?.iceRestarts).toBe(1);
    FakeConnection.all[0]?.become("connected");
    expect(states(), "the path was never the matter").toEqual(["connected", "unheard"]);
    await reports(6);
    const names = sent(socket, "offer").map(({ connection }) => connection);
    expect(names).toHaveLength(2);
    socket.give({ type: "answer", from: "PA_bob", connection: names[1] ?? "", sdp: "answer" });
    await settle();
    FakeConnection.all[1]?.become("connected");
    expect(states()).toEqual(["connected", "unheard", "connected"]);
    await reports(30);
    expect(states().filter((state) => state === "unheard").length).toBeLessThanOrEqual(3);
    expect(FakeConnection.all.length).toBeLessThanOrEqual(4);
    await reports(1, "alice");
    expect(states().at(-1)).toBe("connected");
  });

  it("over which nothing leaves raises no alarm", async () => {
    await answered(BOB);
    const [pc] = FakeConnection.all;
    if (pc !== undefined) pc.sends = 3; // comfort noise
    for (let n = 0; n < 20; n += 1) {
      await vi.advanceTimersByTimeAsync(1_000);
      pc?.receiveText(JSON.stringify({ topic: "mulisa.reception", heard: [] }));
    }
    expect(states()).toEqual(["connected"]);
  });

  it("is replaced when the answer to it cannot be used", async () => {
    vi.spyOn(console, "warn").mockReturnValue();
    FakeConnection.refusesAnswers = true;
    const socket = await join(BOB);
    const [offer] = sent(socket, "offer");
    const connection = offer?.connection ?? "";
    socket.give({ type: "answer", from: "PA_bob", connection, sdp: "nonsense" });
    await settle();
    expect(FakeConnection.all[0]?.closed).toBe(true);
    await vi.advanceTimersByTimeAsync(6_000);
    expect(sent(socket, "offer")).toHaveLength(2);
  });

  it("is forgotten with who left", async () => {
    const socket = await answered(BOB);
    const { sid, identity } = BOB;
    socket.give({ type: "participant_left", sid, identity, reason: "vanished" });
    expect(FakeConnection.all[0]?.closed).toBe(true);
    expect(transport.connections().size).toBe(0);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(sent(socket, "offer")).toHaveLength(1);
  });
});

it("takes as many typed messages of a peer as a person can type", async () => {
  await join(BOB, MULISA);
  const [bob, mulisa] = FakeConnection.all;
  const chats = () => events.filter(({ type }) => type === "chat_received").length;
  const flood = (pc: FakeConnection | undefined) => {
    for (let n = 0; n < 100; n += 1) {
      pc?.receiveText(JSON.stringify({ topic: "lk.chat", id: `m${n}`, text: "hi" }));
    }
  };
  flood(bob);
  expect(chats()).toBe(30);
  flood(mulisa);
  expect(chats()).toBe(60);
  await vi.advanceTimersByTimeAsync(3_000);
  flood(bob);
  expect(chats()).toBe(66);
  await vi.advanceTimersByTimeAsync(60_000);
  flood(bob);
  expect(chats()).toBe(96);
});

it("leaving says so, closes everything and stays away", async () => {
  const socket = await join(BOB);
  transport.leave();
  expect(socket.sent.at(-1)).toEqual({ type: "leave" });
  expect(FakeConnection.all[0]?.closed).toBe(true);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(FakeSocket.all).toHaveLength(1);
});

it("whispers and reception are told; only agents caption", async () => {
  const socket = await join(MULISA, BOB);
  for (const { to, connection } of sent(socket, "offer")) {
    socket.give({ type: "answer", from: to, connection, sdp: "answer" });
  }
  await settle();
  events.length = 0;
  const [mulisa, bob] = FakeConnection.all;
  const words = { segment_id: "S1", identity: "mulisa", text: "psst", final: true };
  const caption = JSON.stringify({ topic: "lk.transcription", ...words, listener: "alice" });
  bob?.receiveText(caption);
  expect(events).toEqual([]);
  mulisa?.receiveText(caption);
  bob?.receiveText(JSON.stringify({ topic: "mulisa.reception", heard: ["alice", "mulisa"] }));
  expect(events).toMatchObject([
    { type: "caption_received", caption: { text: "psst", listener: "alice" } },
    { type: "reception_received", identity: "bob", heard: ["alice", "mulisa"] },
  ]);
});

it("reception is not kept for who cannot be reached now", async () => {
  await join(BOB);
  transport.sendReception(["bob"]);
  transport.sendChat("m1", "hi");
  const [pc] = FakeConnection.all;
  pc?.openText();
  await settle();
  expect(pc?.channel.sent.map((text) => (JSON.parse(text) as { topic: string }).topic)).toEqual([
    "lk.chat",
  ]);
  transport.sendReception(["bob"]);
  expect(JSON.parse(pc?.channel.sent[1] ?? "{}")).toMatchObject({
    topic: "mulisa.reception",
    heard: ["bob"],
  });
});
