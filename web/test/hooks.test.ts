// @vitest-environment happy-dom
/** The page hooks: what scripts outside find in the page with document.querySelector. */

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import type { Microphone, MicProblem } from "../src/mic";
import { Room } from "../src/room";
import { Speaker } from "../src/speaker";
import { AGENT_STATE_ATTRIBUTE, type Participant } from "../src/transport/types";
import { Lobby } from "../src/view/lobby";
import { RoomView } from "../src/view/room";
import type { Visit } from "../src/visit";

function participant(name: string, more: Partial<Participant> = {}): Participant {
  const identity = name.toLowerCase();
  const rest = { kind: "standard", muted: false, attributes: {} } as const;
  return { sid: `PA_${identity}`, identity, name, ...rest, ...more };
}

const MULISA = participant("Mulisa", { kind: "agent" });

class FakeMic extends EventTarget {
  problem: MicProblem | null = null;
  opening = false;
  muted = false;
  devices = [];
  news = null;
  deviceId = null;
  track: MediaStreamTrack | null = { getSettings: () => ({}) } as MediaStreamTrack;
  read(): number {
    return 0;
  }
  setMuted(muted: boolean): void {
    this.muted = muted;
    this.dispatchEvent(new Event("change"));
  }
}

let room: Room;
let mic: FakeMic;
let view: RoomView;
const sendChat = vi.fn();

function hook(name: string): HTMLElement {
  const found = document.querySelector<HTMLElement>(`[data-testid=${name}]`);
  if (found === null) throw new Error(`there is no ${name}`);
  return found;
}

function hooks(name: string): HTMLElement[] {
  return [...document.querySelectorAll<HTMLElement>(`[data-testid=${name}]`)];
}

/** All views have rendered what the room says. */
async function rendered(): Promise<void> {
  await view.updateComplete;
  await new Promise((resolve) => setTimeout(resolve));
}

beforeEach(async () => {
  room = new Room("garden", 0);
  mic = new FakeMic();
  view = new RoomView();
  const speaker = Object.assign(new EventTarget(), { blocked: false, devices: [], deviceId: null, news: null });
  view.visit = { room, mic, speaker, sendChat } as unknown as Visit;
  document.body.append(view);
  const local = participant("Alice");
  room.receive({ type: "joined", local, participants: [participant("Bob"), MULISA] }, 0);
  await rendered();
});

afterEach(() => {
  document.body.replaceChildren();
});

describe("participants", () => {
  it("are everybody, oneself and Mulisa included", () => {
    const tiles = hooks("participant").map(({ dataset }) => [
      dataset.identity,
      dataset.name,
      dataset.speaking,
    ]);
    expect(tiles).toEqual([
      ["mulisa", "Mulisa", "false"],
      ["alice", "Alice", "false"],
      ["bob", "Bob", "false"],
    ]);
  });

  it("show who speaks", async () => {
    room.receiveLevels(new Map([["bob", 0.7]]), 40);
    await rendered();
    const speaking = hooks("participant").filter(({ dataset }) => dataset.speaking === "true");
    expect(speaking.map(({ dataset }) => dataset.name)).toEqual(["Bob"]);
  });

  it("go when they leave", async () => {
    room.receive({ type: "participant_left", identity: "bob", reason: "left" }, 1);
    await rendered();
    expect(hooks("participant")).toHaveLength(2);
  });
});

it("agent-state is exactly the state's word, even while she listens to somebody", async () => {
  expect(hook("agent-state").textContent).toBe("initializing");
  for (const state of ["listening", "thinking", "speaking"]) {
    const attributes = { [AGENT_STATE_ATTRIBUTE]: state };
    room.receive({ type: "participant_updated", participant: { ...MULISA, attributes } }, 1);
    room.receiveLevels(new Map([["bob", 0.7]]), 40);
    await rendered();
    expect(hook("agent-state").textContent).toBe(state);
  }
});

it("captions carry a name and whether they are final; cut words are struck", async () => {
  const caption = { segmentId: "1", identity: "bob", text: "shall we", final: false };
  const rest = { interrupted: false, unspoken: "", listener: null };
  room.receive({ type: "caption_received", caption: { ...caption, ...rest } }, 1);
  await rendered();
  const first = hook("caption");
  expect([first.dataset.name, first.dataset.final]).toEqual(["Bob", "false"]);
  const cut = { ...rest, final: true, interrupted: true, unspoken: "go to the harbour" };
  room.receive({ type: "caption_received", caption: { ...caption, ...cut } }, 2);
  await rendered();
  expect(hook("caption")).toBe(first);
  expect(first.dataset.final).toBe("true");
  expect(first.querySelector("s")?.textContent).toBe("go to the harbour");
  expect(hook("captions").contains(first)).toBe(true);
});

it("a typed message that is captioned, too, stands in the captions once", async () => {
  const lines = () => [...hook("captions").querySelectorAll(".line")].map((e) => e.textContent);
  const written = { identity: "bob", id: "1", text: "who is here?", listener: null };
  room.receive({ type: "chat_received", ...written }, 1);
  await rendered();
  expect(lines()).toHaveLength(1);
  const rest = { text: "who is here?", final: true, interrupted: false, unspoken: "" } as const;
  const caption = { segmentId: "chat:bob:1", identity: "bob", ...rest, listener: null };
  room.receive({ type: "caption_received", caption }, 2);
  await rendered();
  expect(lines()).toHaveLength(1);
  expect(hook("caption").textContent).toContain("writes");
  const spoken = { ...caption, segmentId: "1" };
  room.receive({ type: "caption_received", caption: spoken }, 3);
  await rendered();
  expect(lines()).toHaveLength(2); // the same words, said aloud
});

it("chat-input sends and empties itself", () => {
  const input = hook("chat-input") as HTMLInputElement;
  input.value = "hello";
  input.form?.dispatchEvent(new Event("submit", { cancelable: true }));
  expect(sendChat).toHaveBeenCalledExactlyOnceWith("hello");
  expect(input.value).toBe("");
});

describe("mute", () => {
  function press(type: "keydown" | "keyup", key: string, target: EventTarget = document.body): void {
    target.dispatchEvent(new KeyboardEvent(type, { key, bubbles: true, cancelable: true }));
  }

  it("toggles by click and by M, but not while writing", () => {
    hook("mute").click();
    expect(mic.muted).toBe(true);
    press("keydown", "m");
    expect(mic.muted).toBe(false);
    press("keydown", "m", hook("chat-input"));
    expect(mic.muted).toBe(false);
  });

  it("is lifted for as long as the space bar is held", () => {
    press("keydown", " ");
    press("keyup", " ");
    expect(mic.muted).toBe(false);
    mic.setMuted(true);
    press("keydown", " ");
    expect(mic.muted).toBe(false);
    press("keyup", " ");
    expect(mic.muted).toBe(true);
  });

  describe("while muted, the space bar", () => {
    /** Whether the browser may do what it does with this key: scroll, press, write. */
    function isLeftToBrowser(target: HTMLElement): boolean {
      const event = new KeyboardEvent("keydown", { key: " ", bubbles: true, cancelable: true });
      return target.dispatchEvent(event);
    }

    beforeEach(async () => {
      mic.setMuted(true);
      await rendered();
    });

    it("neither scrolls nor is it for a button that was clicked", () => {
      for (const target of [document.body, hook("mute"), hook("routing")]) {
        target.dispatchEvent(new Event("pointerdown", { bubbles: true }));
        expect(isLeftToBrowser(target)).toBe(false);
        expect(mic.muted).toBe(false);
        press("keyup", " ", target);
        expect(mic.muted).toBe(true);
      }
    });

    it("presses a button for who came there by keyboard", () => {
      hook("routing").dispatchEvent(new Event("pointerdown", { bubbles: true }));
      press("keydown", "Tab");
      expect(isLeftToBrowser(hook("routing"))).toBe(true);
      expect(mic.muted).toBe(true);
    });

    it("writes a space in a text field", () => {
      expect(isLeftToBrowser(hook("chat-input"))).toBe(true);
      expect(mic.muted).toBe(true);
    });

    it("holds the button that is there to be held", () => {
      expect(isLeftToBrowser(hook("hold"))).toBe(false);
      expect(mic.muted).toBe(false);
      press("keyup", " ", hook("hold"));
      expect(mic.muted).toBe(true);
    });

    it.each([
      ["another window", () => window.dispatchEvent(new Event("blur"))],
      ["another tab", () => document.dispatchEvent(new Event("visibilitychange"))],
    ])("lets go when somebody turns to %s", (_, turn) => {
      press("keydown", " ");
      expect(mic.muted).toBe(false);
      turn();
      expect(mic.muted).toBe(true);
    });
  });

  it("is lifted for as long as a finger is on the button", async () => {
    mic.setMuted(true);
    await rendered();
    const button = Object.assign(hook("hold"), { setPointerCapture: vi.fn() });
    for (const end of ["pointerup", "pointercancel"]) {
      button.dispatchEvent(new PointerEvent("pointerdown", { pointerId: 1, bubbles: true }));
      expect(mic.muted).toBe(false);
      button.dispatchEvent(new PointerEvent(end, { bubbles: true }));
      expect(mic.muted).toBe(true);
    }
  });
});

it("a device that was replaced by itself is told for a while", async () => {
  Object.assign(mic, { news: { text: "Headset is gone.", at: performance.now() } });
  mic.setMuted(false);
  await rendered();
  expect(hook("device-news").textContent).toContain("Headset is gone.");
  Object.assign(mic, { news: { text: "Headset is gone.", at: performance.now() - 60_000 } });
  mic.setMuted(false);
  await rendered();
  expect(hooks("device-news")).toEqual([]);
});

it("a signal has a word beside its shape where it is not good, and its figures", async () => {
  room.receive({ type: "connection_changed", identity: "bob", state: "connected" }, 0);
  const figures = { loss: 0.12, sentLoss: null, roundTripMs: 41.4, jitterMs: 0.4, path: "relay" } as const;
  room.receiveQualities(new Map([["bob", { level: "poor", ...figures }]]));
  await rendered();
  const tile = hooks("participant").find(({ dataset }) => dataset.name === "Bob");
  expect(tile?.querySelector(".note")?.textContent).toBe("poor signal");
  expect(hook("quality").dataset).toMatchObject({ level: "poor", path: "relay" });
  expect(hook("quality").getAttribute("aria-label")).toBe("Poor signal to Bob: show figures");
  expect(hook("quality").querySelectorAll(".step.on")).toHaveLength(1);
  const told = [...(tile?.querySelectorAll("dd") ?? [])].map(({ textContent }) => textContent);
  expect(told).toEqual(["12 %", "41 ms", "under 1 ms", "relay"]);
  room.receive({ type: "connection_changed", identity: "bob", state: "interrupted" }, performance.now());
  await rendered();
  expect(hooks("quality")).toEqual([]);
  expect(tile?.querySelector(".note")?.textContent).toContain("reconnecting, 0 s");
});

it("leave asks the app to leave", () => {
  const left = vi.fn();
  view.addEventListener("leave-room", left);
  hook("leave").click();
  expect(left).toHaveBeenCalledOnce();
});

it("who has no microphone is told so and stays", async () => {
  mic.track = null;
  mic.problem = "denied";
  mic.dispatchEvent(new Event("change"));
  await rendered();
  expect(hook("mic-problem").textContent).toContain("nobody hears you");
  expect(hooks("participant")).toHaveLength(3);
});

it("nothing hides in a shadow root", () => {
  const hiding = [...document.querySelectorAll("*")].filter(({ shadowRoot }) => shadowRoot);
  expect(hiding).toEqual([]);
});

describe("the lobby", () => {
  it("has name and join, and wants a name", async () => {
    vi.stubGlobal("fetch", () => Promise.reject(new TypeError("no network")));
    const lobby = Object.assign(new Lobby(), {
      room: "garden",
      name: "",
      mic: mic as unknown as Microphone,
      speaker: new Speaker(document.body, {} as AudioContext),
    });
    const joined = vi.fn();
    lobby.addEventListener("join-room", (event) => void joined((event as CustomEvent<string>).detail));
    document.body.replaceChildren(lobby);
    await lobby.updateComplete;
    const form = hook("join").closest("form");
    form?.dispatchEvent(new Event("submit", { cancelable: true }));
    expect(joined).not.toHaveBeenCalled();
    (hook("name") as HTMLInputElement).value = "  Alice   B ";
    form?.dispatchEvent(new Event("submit", { cancelable: true }));
    expect(joined).toHaveBeenCalledExactlyOnceWith("Alice B");
    vi.unstubAllGlobals();
  });

  it("of a full room names the limit, and tells when there is a place", async () => {
    vi.useFakeTimers();
    const full = { error: "the room is full: at most 12 people" };
    const admission = { token: "t", agent: null };
    let answer = () => Response.json(full, { status: 503 });
    vi.stubGlobal("fetch", () => Promise.resolve(answer()));
    const lobby = Object.assign(new Lobby(), {
      room: "garden",
      name: "",
      mic: mic as unknown as Microphone,
      speaker: new Speaker(document.body, {} as AudioContext),
    });
    document.body.replaceChildren(lobby);
    await vi.advanceTimersByTimeAsync(100);
    expect(hook("lobby-trouble").textContent).toContain("The room is full: at most 12 people.");
    expect(hook("join").textContent.trim()).toBe("Try again");
    answer = () => Response.json(admission);
    await vi.advanceTimersByTimeAsync(5_000);
    expect(hooks("lobby-trouble")).toEqual([]);
    expect(hook("place-free").textContent).toContain("There is a place for you now.");
    expect(hook("join").textContent.trim()).toBe("Join");
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });
});

describe("the speaker", () => {
  it("has one audio element for each remote participant, with what is heard of them", () => {
    const place = document.createElement("div");
    document.body.append(place);
    vi.spyOn(HTMLMediaElement.prototype, "play").mockResolvedValue();
    const speaker = new Speaker(place, {} as AudioContext);
    const [first, second] = [new MediaStream(), new MediaStream()];
    speaker.play("bob", first);
    speaker.play("bob", second);
    const audios = [...document.querySelectorAll<HTMLAudioElement>("audio[data-identity=bob]")];
    expect(audios.map(({ srcObject }) => srcObject)).toEqual([second]);
    speaker.stop("bob");
    expect(document.querySelector("audio")).toBeNull();
  });

  it("knows when the browser holds sound back, until a click", async () => {
    const play = vi.spyOn(HTMLMediaElement.prototype, "play");
    play.mockRejectedValueOnce(new DOMException("no click yet", "NotAllowedError"));
    play.mockResolvedValue();
    const speaker = new Speaker(document.body, {} as AudioContext);
    const changed = vi.fn();
    speaker.addEventListener("change", changed);
    speaker.play("bob", new MediaStream());
    await vi.waitFor(() => expect(speaker.blocked).toBe(true));
    await speaker.unblock();
    expect(speaker.blocked).toBe(false);
    expect(changed).toHaveBeenCalledTimes(2);
  });
});
