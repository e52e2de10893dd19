// @vitest-environment happy-dom
/** What the page shows of who hears whom, and how a person changes it. */

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { Room } from "../src/room";
import { type Participant, ROUTING_ATTRIBUTE } from "../src/transport/types";
import { RoomView } from "../src/view/room";
import type { Visit } from "../src/visit";

function participant(name: string, more: Partial<Participant> = {}): Participant {
  const identity = name.toLowerCase();
  const rest = { kind: "standard", muted: false, attributes: {} } as const;
  return { sid: `PA_${identity}`, identity, name, ...rest, ...more };
}

const MULISA = participant("Mulisa", { kind: "agent" });

class FakeMic extends EventTarget {
  readonly problem = null;
  readonly opening = false;
  readonly muted = false;
  readonly devices = [];
  readonly news = null;
  readonly deviceId = null;
  readonly track = { getSettings: () => ({}) } as MediaStreamTrack;
  read(): number {
    return 0;
  }
}

let room: Room;
let view: RoomView;
let answer: (response: Response) => void;
const fetching = vi.fn<(url: string, init: RequestInit) => Promise<Response>>();

function find(selector: string): HTMLElement | null {
  return document.querySelector<HTMLElement>(selector);
}

function hook(name: string, more = ""): HTMLElement {
  const found = find(`[data-testid=${name}]${more}`);
  if (found === null) throw new Error(`there is no ${name}${more}`);
  return found;
}

function cell(from: string, to: string): HTMLElement {
  return hook("routing-cell", `[data-from=${from}][data-to=${to}]`);
}

function aria(element: Element, name: string): string | null {
  return element.getAttribute(`aria-${name}`);
}

function press(key: string): void {
  document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
}

/** All views have rendered what the room says. */
async function rendered(): Promise<void> {
  await view.updateComplete;
  await new Promise((resolve) => setTimeout(resolve));
}

async function routedBy(attribute: string): Promise<void> {
  const attributes = { [ROUTING_ATTRIBUTE]: attribute };
  room.receive({ type: "participant_updated", participant: { ...MULISA, attributes } }, 1);
  await rendered();
}

function lastChange(): unknown {
  const body = fetching.mock.lastCall?.[1].body;
  return typeof body === "string" ? JSON.parse(body) : undefined;
}

beforeEach(async () => {
  fetching.mockReset();
  fetching.mockImplementation(() => new Promise((resolve) => (answer = resolve)));
  vi.stubGlobal("fetch", fetching);
  room = new Room("garden", 0);
  view = new RoomView();
  const speaker = Object.assign(new EventTarget(), { blocked: false, devices: [], deviceId: null, news: null });
  view.visit = { room, mic: new FakeMic(), speaker } as unknown as Visit;
  document.body.append(view);
  const participants = [participant("Bob"), MULISA];
  room.receive({ type: "joined", local: participant("Alice"), participants }, 0);
  await rendered();
});

afterEach(() => {
  document.body.replaceChildren();
  vi.unstubAllGlobals();
});

describe("the panel", () => {
  it("opens and closes by the bar's button, by R, and by Escape", async () => {
    const isShown = () => find("[data-testid=routing-panel]") !== null;
    expect(isShown()).toBe(false);
    hook("routing").click();
    await rendered();
    expect([isShown(), aria(hook("routing"), "expanded")]).toEqual([true, "true"]);
    hook("routing").click();
    await rendered();
    expect([isShown(), aria(hook("routing"), "expanded")]).toEqual([false, "false"]);
    press("r");
    await rendered();
    expect(isShown()).toBe(true);
    expect(document.activeElement?.getAttribute("role")).toBe("checkbox");
    press("Escape");
    await rendered();
    expect(isShown()).toBe(false);
    expect(document.activeElement).toBe(hook("routing"));
    expect(hook("captions").closest("[hidden]")).toBeNull();
  });

  it("gives back what it took the place of", async () => {
    press("c"); // hides the panel
    hook("routing").click();
    hook("routing").click();
    await rendered();
    expect(view.panelOpen).toBe(false);
  });
});

describe("the matrix", () => {
  beforeEach(async () => {
    hook("routing").click();
    await rendered();
  });

  it("has a cell for each way, Mulisa first, and none from anybody to themselves", () => {
    const cells = [...document.querySelectorAll<HTMLElement>("[data-testid=routing-cell]")];
    expect(cells.map(({ dataset }) => [dataset.from, dataset.to])).toEqual([
      ["mulisa", "alice"],
      ["mulisa", "bob"],
      ["alice", "mulisa"],
      ["alice", "bob"],
      ["bob", "mulisa"],
      ["bob", "alice"],
    ]);
  });

  it("has switches in Mulisa's row and column, with names, and nowhere else", () => {
    const switches = [...document.querySelectorAll(".matrix [role=checkbox]")];
    expect(switches.map((each) => [aria(each, "label"), aria(each, "checked")])).toEqual([
      ["Mulisa speaks to Alice", "true"],
      ["Mulisa speaks to Bob", "true"],
      ["Mulisa hears Alice", "true"],
      ["Mulisa hears Bob", "true"],
    ]);
    const heads = [...document.querySelectorAll(".matrix th")].map(({ textContent }) => textContent);
    expect(heads.filter((text) => text.includes("Mulisa"))).toHaveLength(2);
  });

  it("is filled by what arrives, as whoever hears it says", async () => {
    const now = performance.now();
    room.receive({ type: "reception_received", identity: "bob", heard: ["alice"] }, now);
    await rendered();
    expect(cell("alice", "bob").dataset.arriving).toBe("true");
    expect(aria(cell("alice", "bob"), "label")).toBe("Bob hears Alice: arrives now");
    expect(cell("mulisa", "bob").dataset.arriving).toBe("false");
    expect(cell("mulisa", "bob").hasAttribute("data-unknown")).toBe(false);
    expect(cell("bob", "alice").hasAttribute("data-unknown")).toBe(true);
  });

  it("shows what holds, however it came about", async () => {
    await routedBy('{"hear": {"bob": false}, "speak_to": ["alice"]}');
    const allowed = ["alice", "bob"].map((who) => [
      cell(who, "mulisa").dataset.allowed,
      cell("mulisa", who).dataset.allowed,
    ]);
    expect(allowed).toEqual([
      ["true", "true"],
      ["false", "false"],
    ]);
    expect(aria(hook("routing-everybody"), "checked")).toBe("false");
    expect(hook("routing-panel").textContent).toContain("Mulisa hears you, not Bob.");
  });

  it("is changing from the click until the answer, and only then changed", async () => {
    cell("bob", "mulisa").click();
    await rendered();
    expect(lastChange()).toEqual({ hear: { bob: false } });
    expect(aria(cell("bob", "mulisa"), "busy")).toBe("true");
    expect(cell("bob", "mulisa").dataset.allowed).toBe("true");
    answer(Response.json({ hear: { alice: true, bob: false }, speak_to: null }));
    await vi.waitFor(() => expect(cell("bob", "mulisa").dataset.allowed).toBe("false"));
    expect(aria(cell("bob", "mulisa"), "busy")).toBe("false");
  });

  it("switches her voice for one and for everybody", async () => {
    cell("mulisa", "bob").click();
    await rendered();
    expect(lastChange()).toEqual({ speak_to: ["alice"] });
    answer(Response.json({ hear: {}, speak_to: ["alice"] }));
    await vi.waitFor(() => expect(cell("mulisa", "bob").dataset.allowed).toBe("false"));
    hook("routing-everybody").click();
    await rendered();
    expect(lastChange()).toEqual({ speak_to: null });
  });

  it("says what could not be changed, and tries again", async () => {
    cell("bob", "mulisa").click();
    await rendered();
    answer(Response.json({ error: "Mulisa does not answer." }, { status: 504 }));
    await vi.waitFor(() => expect(hook("routing-error").textContent).toContain("does not answer"));
    expect(cell("bob", "mulisa").dataset.allowed).toBe("true");
    hook("routing-error").querySelector("button")?.click();
    await rendered();
    expect(fetching).toHaveBeenCalledTimes(2);
    expect(find("[data-testid=routing-error]")).toBeNull();
  });

  it("has nothing to switch while Mulisa is not here", async () => {
    room.receive({ type: "participant_left", identity: "mulisa", reason: "vanished" }, 1);
    await rendered();
    expect(find(".routing [role=checkbox]")).toBeNull();
    expect(cell("alice", "bob").dataset.allowed).toBe("true");
  });
});

describe("tiles", () => {
  const note = (who: string) =>
    find(`[data-identity=${who}] [data-testid=routing-note]`)?.textContent ?? null;

  it("say whom Mulisa leaves out", async () => {
    expect([note("alice"), note("bob")]).toEqual([null, null]);
    await routedBy('{"hear": {"alice": false, "bob": false}, "speak_to": ["alice"]}');
    expect(note("alice")).toBe("Mulisa does not hear you");
    expect(note("bob")).toBe("Mulisa does not hear or speak to Bob");
  });

  it("let oneself off Mulisa's ears and back, and nobody else", async () => {
    expect(document.querySelectorAll("[data-testid=ears]")).toHaveLength(1);
    expect(aria(hook("ears"), "label")).toBe("Take me off Mulisa's ears");
    hook("ears").click();
    await rendered();
    expect(lastChange()).toEqual({ hear: { alice: false } });
    answer(Response.json({ hear: { alice: false }, speak_to: null }));
    await vi.waitFor(() => expect(aria(hook("ears"), "label")).toBe("Let Mulisa hear me"));
    expect(note("alice")).toBe("Mulisa does not hear you");
  });

  it("tell a failure above, where it is seen on a narrow screen, too", async () => {
    hook("ears").click();
    await rendered();
    answer(Response.json({ error: "Mulisa does not answer." }, { status: 504 }));
    await vi.waitFor(() => expect(hook("routing-error").closest(".notices")).not.toBeNull());
  });
});

it("whispers carry a lock and for whom they are", async () => {
  const rest = { final: true, interrupted: false, unspoken: "" };
  const whisper = { segmentId: "1", identity: "mulisa", text: "Psst.", listener: "alice", ...rest };
  room.receive({ type: "caption_received", caption: whisper }, performance.now());
  const spoken = { ...whisper, segmentId: "2", text: "Hello, all.", listener: null };
  room.receive({ type: "caption_received", caption: spoken }, performance.now());
  await rendered();
  const captions = [...document.querySelectorAll<HTMLElement>("[data-testid=caption]")];
  expect(captions.map(({ dataset }) => dataset.listener)).toEqual(["alice", undefined]);
  expect(captions[0]?.querySelector(".whisper")?.textContent).toBe("to you only");
  expect(captions[0]?.querySelector(".whisper svg")).not.toBeNull();
  expect(captions[0]?.querySelector(".words")?.textContent).toBe("Psst.");
  expect(captions[1]?.querySelector(".whisper")).toBeNull();
});
