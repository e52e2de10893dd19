// @vitest-environment happy-dom
/** An engine of Mulisa's that fails: what the page says of it, and how quietly. */

import { afterEach, beforeEach, describe, expect, it } from "vitest";

import { Room } from "../src/room";
import { engineTrouble, troubleWords } from "../src/trouble";
import { type Participant, TROUBLE_ATTRIBUTE } from "../src/transport/types";
import { RoomView } from "../src/view/room";
import type { Visit } from "../src/visit";

function participant(name: string, more: Partial<Participant> = {}): Participant {
  const identity = name.toLowerCase();
  const rest = { kind: "standard", muted: false, attributes: {} } as const;
  return { sid: `PA_${identity}`, identity, name, ...rest, ...more };
}

const MULISA = participant("Mulisa", { kind: "agent" });
const REFUSED = { stage: "stt", engine: "OpenAI", reason: "it refuses our key", successor: "whisper" };

function saying(trouble: unknown): Participant {
  const text = typeof trouble === "string" ? trouble : JSON.stringify(trouble);
  return { ...MULISA, attributes: { [TROUBLE_ATTRIBUTE]: text } };
}

describe("what she says of her engines", () => {
  it("is read", () => {
    expect(engineTrouble(saying(REFUSED))).toEqual(REFUSED);
    expect(engineTrouble(MULISA)).toBeNull();
    expect(engineTrouble(saying(""))).toBeNull();
    expect(engineTrouble(undefined)).toBeNull();
  });

  it("is nothing if it is not understood", () => {
    const broken = [
      "{", "7", "null", "[]", {}, { ...REFUSED, stage: "toString" }, { ...REFUSED, stage: 1 },
      { ...REFUSED, engine: "" }, { ...REFUSED, engine: 7 }, { ...REFUSED, reason: null },
      { ...REFUSED, successor: {} }, { ...REFUSED, reason: "x".repeat(121) },
    ];
    for (const text of broken) expect(engineTrouble(saying(text)), JSON.stringify(text)).toBeNull();
  });

  it("makes sentences that say what it means for everybody", () => {
    const words = (more: object) => {
      const trouble = engineTrouble(saying({ ...REFUSED, ...more }));
      return trouble === null ? "" : troubleWords(trouble, "Mulisa").join(" ");
    };
    expect(words({})).toBe("OpenAI cannot transcribe: it refuses our key. Whisper does it meanwhile.");
    expect(words({ successor: "" })).toMatch(/Mulisa does not understand what is said; you can write/);
    expect(words({ stage: "llm", successor: "" })).toMatch(/^OpenAI cannot answer.*Mulisa cannot answer\.$/);
    expect(words({ stage: "tts", successor: "" })).toMatch(/^OpenAI cannot speak.*Mulisa cannot speak\.$/);
    expect(words({ stage: "realtime" })).toMatch(/^OpenAI cannot answer: it refuses our key\. Whisper/);
  });
});

describe("the notice", () => {
  let room: Room;
  let view: RoomView;

  async function hears(trouble: unknown): Promise<HTMLElement> {
    room.receive({ type: "participant_updated", participant: saying(trouble) }, 1);
    await view.updateComplete;
    const strip = document.querySelector<HTMLElement>("[data-testid=engine-trouble]");
    if (strip === null) throw new Error("there is no place for it");
    return strip;
  }

  beforeEach(async () => {
    room = new Room("garden", 0);
    view = new RoomView();
    const more = { blocked: false, problem: null, devices: [], deviceId: null, news: null };
    const [mic, speaker] = [1, 2].map(() => Object.assign(new EventTarget(), { ...more, read: () => 0 }));
    view.visit = { room, mic, speaker } as unknown as Visit;
    document.body.append(view);
    room.receive({ type: "joined", local: participant("Alice"), participants: [MULISA] }, 0);
    await view.updateComplete;
  });

  afterEach(() => document.body.replaceChildren());

  it("stands as long as the trouble does, where screen readers wait for it", async () => {
    const strip = await hears("");
    expect([strip.getAttribute("role"), strip.textContent]).toEqual(["status", ""]);
    expect((await hears(REFUSED)).textContent).toContain("OpenAI cannot transcribe: it refuses our key.");
    expect(await hears(REFUSED)).toBe(strip);
    expect((await hears("")).textContent).toBe("");
  });

  it("shows words, never markup", async () => {
    const strip = await hears({ ...REFUSED, engine: "<b>bold</b>" });
    expect(strip.querySelector("b")).toBeNull();
    expect(strip.textContent).toContain("<b>bold</b>");
  });

  it("goes with her", async () => {
    await hears(REFUSED);
    room.receive({ type: "participant_left", identity: "mulisa", reason: "left" }, 2);
    await view.updateComplete;
    expect(document.querySelector("[data-testid=engine-trouble]")?.textContent).toBe("");
  });
});
