// @vitest-environment happy-dom
/** Connections are looked at while somebody watches, and not at all otherwise. */

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { SFU } from "../src/anatomy/chart";
import { type Call, Observer } from "../src/anatomy/observer";
import { Room } from "../src/room";
import type { Participant, Topology } from "../src/transport/types";

const MULISA: Participant = {
  sid: "PA_m", identity: "mulisa", name: "Mulisa", kind: "agent", muted: false, attributes: {},
};

let clock = 0;
const getStats = vi.fn(() => {
  clock += 1_000;
  const [packetsSent, bytesSent] = [clock / 20, clock * 4];
  const report = { type: "outbound-rtp", kind: "audio", ssrc: 1, timestamp: clock, packetsSent, bytesSent };
  return Promise.resolve(new Map([["O", report]]) as unknown as RTCStatsReport);
});
const voiceStats = vi.fn(() => Promise.resolve([]));

function call(topology: Topology, ...names: string[]): Call {
  const room = new Room("garden", 0);
  const local = { ...MULISA, sid: "PA_a", identity: "alice", name: "Alice", kind: "standard" } as const;
  room.receive({ type: "joined", local, participants: [MULISA] }, 0);
  const connection = { getStats } as unknown as RTCPeerConnection;
  const connections = () => new Map(names.map((name) => [name, connection]));
  return { room, topology, transport: { connections, voiceStats } };
}

beforeEach(() => {
  vi.useFakeTimers();
  getStats.mockClear();
  voiceStats.mockClear();
});

afterEach(() => vi.useRealTimers());

describe("an observer", () => {
  it("looks at each connection of a mesh every second, from start to stop", async () => {
    const observer = new Observer(call("mesh", "mulisa", "bob"));
    await vi.advanceTimersByTimeAsync(3_000);
    expect(getStats).not.toHaveBeenCalled();
    observer.start();
    await vi.advanceTimersByTimeAsync(2_500);
    expect(getStats).toHaveBeenCalledTimes(6);
    expect([...observer.edges.keys()]).toEqual(["mulisa", "bob"]);
    expect(observer.edges.get("bob")?.traffic?.up.packetRate).toBe(50);
    observer.stop();
    const looks = [getStats.mock.calls.length, voiceStats.mock.calls.length];
    await vi.advanceTimersByTimeAsync(5_000);
    expect([getStats.mock.calls.length, voiceStats.mock.calls.length]).toEqual(looks);
    expect([observer.edges.size, observer.voice]).toEqual([0, null]);
  });

  it("forgets what it was about to learn when it was stopped", async () => {
    const observer = new Observer(call("mesh", "bob"));
    const told = vi.fn();
    observer.addEventListener("traffic", told);
    observer.start();
    observer.stop(); // the first look is on its way
    await vi.advanceTimersByTimeAsync(2_000);
    expect([observer.edges.size, told.mock.calls.length]).toEqual([0, 0]);
  });

  it("takes an SFU's connections for one line, and one that does both for one connection", async () => {
    const observer = new Observer(call("sfu", "publisher", "subscriber"));
    observer.start();
    await vi.advanceTimersByTimeAsync(100);
    expect([...observer.edges.keys()]).toEqual([SFU]);
    expect(getStats).toHaveBeenCalledTimes(1);
    observer.stop();
  });

  it("looks more often at a voice that comes than at one that is silent", async () => {
    const observer = new Observer(call("mesh"));
    observer.start();
    await vi.advanceTimersByTimeAsync(1_000);
    const silent = voiceStats.mock.calls.length;
    let packetsReceived = 0;
    voiceStats.mockImplementation(() => {
      packetsReceived += 3;
      const report = { type: "inbound-rtp", kind: "audio", ssrc: 1, packetsReceived, bytesReceived: packetsReceived * 80 };
      return Promise.resolve([[["I", report]]] as never[]);
    });
    await vi.advanceTimersByTimeAsync(1_000);
    expect(voiceStats.mock.calls.length - silent).toBeGreaterThan(2 * silent);
    expect(observer.voice?.packets.length).toBeGreaterThan(10);
    observer.stop();
  });

  it("goes on after a connection that cannot be counted", async () => {
    vi.spyOn(console, "debug").mockImplementation(() => undefined);
    getStats.mockRejectedValueOnce(new Error("closed"));
    const observer = new Observer(call("mesh", "bob"));
    observer.start();
    await vi.advanceTimersByTimeAsync(1_500);
    expect(observer.edges.has("bob")).toBe(true);
    observer.stop();
  });
});
