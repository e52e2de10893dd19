// @vitest-environment happy-dom
/** The panel "How this call works": how it opens and closes, and what it shows of a call. */

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { Room } from "../src/room";
import type { Participant, Topology } from "../src/transport/types";
import { RoomView } from "../src/view/room";
import type { Visit } from "../src/visit";

function participant(name: string, more: Partial<Participant> = {}): Participant {
  const identity = name.toLowerCase();
  const rest = { kind: "standard", muted: false, attributes: {} } as const;
  return { sid: `PA_${identity}`, identity, name, ...rest, ...more };
}

const MULISA = participant("Mulisa", { kind: "agent" });

let room: Room;
let view: RoomView;
/** Each look is a second after the one before, in which 50 packets of 100 bytes came and went. */
let looks = 0;

const getStats = vi.fn(() => {
  looks += 1;
  const [timestamp, packets] = [looks * 1_000, looks * 50];
  const common = { kind: "audio", timestamp };
  const reports = [
    { id: "O", type: "outbound-rtp", ssrc: 1, packetsSent: packets, bytesSent: packets * 100, ...common },
    { id: "I", type: "inbound-rtp", ssrc: 2, packetsReceived: packets, bytesReceived: packets * 50, ...common },
    { id: "T", type: "transport", selectedCandidatePairId: "P" },
    { id: "P", type: "candidate-pair", localCandidateId: "L", remoteCandidateId: "R", currentRoundTripTime: 0.012 },
    { id: "L", type: "local-candidate", candidateType: "relay" },
  ];
  return Promise.resolve(new Map(reports.map((report) => [report.id, report])));
});

const voiceStats = vi.fn(() => Promise.resolve([]));

function all(selector: string): HTMLElement[] {
  return [...document.querySelectorAll<HTMLElement>(selector)];
}

function find(selector: string): HTMLElement {
  const [found] = all(selector);
  if (found === undefined) throw new Error(`there is no ${selector}`);
  return found;
}

function press(key: string): void {
  document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
}

async function rendered(): Promise<void> {
  await view.updateComplete;
  await vi.advanceTimersByTimeAsync(10);
  await view.updateComplete;
}

async function enter(topology: Topology): Promise<void> {
  room = new Room("garden", 0);
  view = new RoomView();
  const mic = Object.assign(new EventTarget(), { problem: null, news: null, muted: false, devices: [], track: null, read: () => 0 });
  const speaker = Object.assign(new EventTarget(), { blocked: false, devices: [], deviceId: null, news: null });
  const names = topology === "mesh" ? ["bob", "mulisa"] : ["publisher"];
  const connections = () => new Map(names.map((name) => [name, { getStats }]));
  const transport = { connections, voiceStats };
  view.visit = { room, topology, transport, mic, speaker } as unknown as Visit;
  document.body.append(view);
  room.receive({ type: "joined", local: participant("Alice"), participants: [participant("Bob"), MULISA] }, 0);
  await rendered();
}

beforeEach(() => {
  vi.useFakeTimers();
  looks = 0;
  getStats.mockClear();
  voiceStats.mockClear();
});

afterEach(() => {
  document.body.replaceChildren();
  vi.useRealTimers();
});

describe("the panel", () => {
  beforeEach(() => enter("mesh"));

  it("is closed at first, and nobody looks at connections", async () => {
    await vi.advanceTimersByTimeAsync(5_000);
    expect(all("[data-testid=anatomy]")).toEqual([]);
    expect([getStats.mock.calls.length, voiceStats.mock.calls.length]).toEqual([0, 0]);
  });

  it("opens by H with the focus on its title, closes by Escape, and stops looking", async () => {
    press("h");
    await rendered();
    expect(all("[data-testid=anatomy]")).toHaveLength(1);
    expect(document.activeElement?.textContent).toBe("How this call works");
    press("Escape");
    await rendered();
    expect(all("[data-testid=anatomy]")).toEqual([]);
    expect(document.activeElement).toBe(find("[data-testid=how]"));
    getStats.mockClear();
    await vi.advanceTimersByTimeAsync(5_000);
    expect(getStats).not.toHaveBeenCalled();
  });

  it("gives way to who hears whom, and both give back what was shown before", async () => {
    press("c");
    find("[data-testid=how]").click();
    await rendered();
    find("[data-testid=routing]").click();
    await rendered();
    expect(view.tab).toBe("routing");
    find("[data-testid=routing]").click();
    await rendered();
    expect(view.panelOpen).toBe(false);
  });
});

describe("the picture", () => {
  it("of a mesh has a line for each pair, and figures of one's own", async () => {
    await enter("mesh");
    press("h");
    await vi.advanceTimersByTimeAsync(2_100);
    await rendered();
    expect(all("[data-testid=edge]")).toHaveLength(3);
    expect(all("[data-testid=edge][data-own]")).toHaveLength(2);
    const row = find("[data-testid=link][data-with=bob]").textContent.replaceAll(/\s+/g, " ");
    expect(row).toContain("40 kb/s 50 /s 20 kb/s 50 /s");
    expect(row).toContain("12 ms relay");
    expect(find("[data-testid=agent-cost]").textContent).toContain("costs 2 connections");
  });

  it("of an SFU has one line of one's own, to the server", async () => {
    await enter("sfu");
    press("h");
    await vi.advanceTimersByTimeAsync(2_100);
    await rendered();
    expect(all("[data-testid=edge]")).toHaveLength(3);
    expect(all("[data-testid=edge][data-own]")).toHaveLength(1);
    expect(all("[data-testid=link]").map(({ dataset }) => dataset.with)).toEqual(["sfu"]);
    expect(find("[data-testid=agent-cost]").textContent).toContain("costs 1 connection");
  });

  it("shows of others only what they report, and what nobody reports as unknown", async () => {
    await enter("mesh");
    press("h");
    await rendered();
    const lane = () => find(".lane[data-from=mulisa][data-to=bob]").dataset.state;
    expect(lane()).toBe("unknown");
    room.receive({ type: "reception_received", identity: "bob", heard: ["mulisa"] }, performance.now());
    await rendered();
    expect(lane()).toBe("flows");
    room.receive({ type: "reception_received", identity: "bob", heard: [] }, performance.now());
    await rendered();
    expect(lane()).toBe("quiet");
  });

  it("lights the agent's lines up once for each of her stays", async () => {
    await enter("mesh");
    press("h");
    await rendered();
    expect(all(".lit")).toHaveLength(2);
    room.receive({ type: "participant_left", identity: "mulisa", reason: "left" }, 1);
    await rendered();
    expect(all(".lit")).toEqual([]);
    room.receive({ type: "participant_joined", participant: { ...MULISA, sid: "PA_again" } }, 2);
    await rendered();
    expect(all(".lit")).toHaveLength(2);
  });
});

describe("a number", () => {
  it("says where it comes from when it is pointed at, focused or touched", async () => {
    await enter("mesh");
    press("h");
    await vi.advanceTimersByTimeAsync(2_100);
    await rendered();
    const numbers = all("[data-testid=sourced]");
    expect(numbers.length).toBeGreaterThan(10);
    expect(numbers.every(({ dataset }) => dataset.source !== "")).toBe(true);
    find("[data-with=bob] [data-testid=sourced]").dispatchEvent(new Event("focusin", { bubbles: true }));
    await rendered();
    expect(find("[data-testid=source]").textContent).toContain("From getStats of your browser");
    find("[data-testid=whatif-table] [data-testid=sourced]").dispatchEvent(new Event("pointerover", { bubbles: true }));
    await rendered();
    expect(find("[data-testid=source]").textContent).toContain("N (N + 1) / 2");
  });
});

describe("what if we were N?", () => {
  it("begins with who is here, and follows the slider", async () => {
    await enter("mesh");
    press("h");
    await rendered();
    const totals = () => {
      const [first] = all("[data-testid=whatif-table] tbody tr");
      return [...(first?.querySelectorAll("td") ?? [])].map((cell) => cell.textContent.trim());
    };
    expect(totals()).toEqual(["3", "3"]);
    const slider = find("[data-testid=whatif]") as HTMLInputElement;
    slider.value = "10";
    slider.dispatchEvent(new Event("input"));
    await rendered();
    expect(totals()).toEqual(["55", "11"]);
  });
});
