// @vitest-environment happy-dom
/** Devices that are chosen, or pulled out, in the middle of a call. */

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { Microphone } from "../src/mic";
import { isGone, labelOf, SoundDevices } from "../src/sound";
import { Speaker } from "../src/speaker";

class FakeTrack extends EventTarget {
  enabled = true;
  readyState = "live";
  onended: (() => void) | null = null;
  constructor(readonly label: string, readonly deviceId: string) {
    super();
  }
  getSettings(): MediaTrackSettings {
    return { deviceId: this.deviceId };
  }
  stop(): void {
    this.readyState = "ended";
  }
  pullOut(): void {
    this.readyState = "ended";
    this.onended?.();
  }
}

const LABELS: Record<string, string> = { builtin: "Built-in", headset: "Headset (0a12:1004)" };
const media = Object.assign(new EventTarget(), {
  listed: [] as [MediaDeviceKind, string][],
  refused: new Set<string>(),
  opened: [] as FakeTrack[],
  enumerateDevices: () =>
    Promise.resolve(
      media.listed.map(([kind, deviceId]) => ({ kind, deviceId, label: LABELS[deviceId] ?? "" })),
    ),
  getUserMedia: ({ audio }: { audio: { deviceId?: { exact: string } } }) => {
    const id = audio.deviceId?.exact ?? "builtin";
    if (!media.listed.some(([, listed]) => listed === id)) {
      return Promise.reject(new DOMException("", "OverconstrainedError"));
    }
    if (media.refused.has(id)) return Promise.reject(new DOMException("", "NotReadableError"));
    const track = new FakeTrack(LABELS[id] ?? "", id);
    media.opened.push(track);
    return Promise.resolve({ getAudioTracks: () => [track], getTracks: () => [track] });
  },
});
const node = { connect: vi.fn(), disconnect: vi.fn() };
const context = { createMediaStreamSource: () => node, createAnalyser: () => ({ ...node }) };

async function settled(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve));
}

async function list(...listed: [MediaDeviceKind, string][]): Promise<void> {
  media.listed = listed;
  media.dispatchEvent(new Event("devicechange"));
  await settled();
}

let mic: Microphone;
let sound: SoundDevices;

beforeEach(async () => {
  vi.stubGlobal("isSecureContext", true);
  Object.defineProperty(navigator, "mediaDevices", { value: media, configurable: true });
  Object.assign(media, { refused: new Set(), opened: [] });
  sound = new SoundDevices();
  mic = new Microphone(context as unknown as AudioContext, null, sound);
  await list(["audioinput", "builtin"], ["audioinput", "headset"], ["audiooutput", "headset"]);
});

afterEach(() => {
  mic.close();
  vi.unstubAllGlobals();
});

const label = () => mic.track?.label;

describe("a microphone", () => {
  it("is used until the next one is open, and not longer", async () => {
    await mic.open();
    const seen: (string | undefined)[] = [];
    mic.addEventListener("change", () => seen.push(label()));
    await mic.open("headset");
    expect(new Set(seen)).toEqual(new Set(["Built-in", "Headset (0a12:1004)"]));
    expect(media.opened.map(({ readyState }) => readyState)).toEqual(["ended", "live"]);
    expect(mic.news).toBeNull();
  });

  it("is kept where another one cannot be opened, which is told", async () => {
    await mic.open();
    media.refused.add("headset");
    await mic.open("headset");
    expect([label(), mic.problem]).toEqual(["Built-in", null]);
    expect(mic.news?.text).toBe("That microphone cannot be used. Yours is still Built-in.");
  });

  it("that is pulled out gives way to the default one, and stays muted if it was", async () => {
    await mic.open("headset");
    mic.setMuted(true);
    media.opened[0]?.pullOut();
    await settled();
    expect([label(), mic.track?.enabled]).toEqual(["Built-in", false]);
    expect(mic.news?.text).toBe("Headset is gone. Your microphone is now Built-in.");
  });

  it("that is pulled out is noticed by the list alone, too", async () => {
    await mic.open("headset");
    await list(["audioinput", "builtin"]);
    expect(label()).toBe("Built-in");
    expect(media.opened).toHaveLength(2);
  });

  it("is never without a track in between, which would be a renegotiation on an SFU", async () => {
    await mic.open("headset");
    const tracks: unknown[] = [];
    mic.addEventListener("change", () => tracks.push(mic.track));
    media.opened[0]?.pullOut();
    await settled();
    expect(tracks).not.toContain(null);
  });

  it("that was the only one leaves a problem with its mend", async () => {
    await mic.open();
    media.refused.add("builtin");
    media.opened[0]?.pullOut();
    await settled();
    expect([mic.track, mic.problem, mic.news]).toEqual([null, "in_use", null]);
  });

  it("that was chosen once and is not there now is the default one", async () => {
    await mic.open("elsewhere");
    expect([label(), mic.problem]).toEqual(["Built-in", null]);
    await list(["audioinput", "builtin"], ["audioinput", "headset"]);
    expect(media.opened).toHaveLength(1);
  });
});

describe("a loudspeaker", () => {
  const sinks: string[] = [];
  let speaker: Speaker;

  beforeEach(async () => {
    sinks.length = 0;
    const current = new WeakMap<object, string>();
    Object.defineProperties(HTMLMediaElement.prototype, {
      sinkId: { configurable: true, get: function (this: object) { return current.get(this) ?? ""; } },
      setSinkId: {
        configurable: true,
        value: function (this: object, id: string) {
          sinks.push(id);
          current.set(this, id);
          return Promise.resolve();
        },
      },
      play: { configurable: true, value: () => Promise.resolve() },
    });
    speaker = new Speaker(document.body, context as unknown as AudioContext, { sound, deviceId: null });
    await list(["audiooutput", "builtin"], ["audiooutput", "headset"]);
    speaker.play("bob", new MediaStream());
  });

  afterEach(() => {
    speaker.close();
  });

  it("can be chosen, for who is heard now and later", () => {
    speaker.choose("headset");
    speaker.play("carol", new MediaStream());
    expect(sinks).toEqual(["headset", "headset"]);
  });

  it("that is pulled out gives way to the system's, which is told", async () => {
    speaker.choose("headset");
    await list(["audiooutput", "builtin"]);
    expect([speaker.deviceId, ...sinks]).toEqual([null, "headset", ""]);
    expect(speaker.news?.text).toContain("Headset is gone.");
  });
});

it("only what was there can be gone", () => {
  const [here, nothing] = [[{ id: "a", label: "" }], []];
  expect(isGone("a", here, nothing)).toBe(true);
  expect(isGone("a", here, here)).toBe(false);
  expect(isGone("a", nothing, nothing)).toBe(false);
  expect(isGone("default", [{ id: "default", label: "" }], nothing)).toBe(false);
});

it("labels lose what only engineers read", () => {
  expect(labelOf("Default - Headset (0a12:1004)")).toBe("Headset");
  expect(labelOf("MacBook Pro (Built-in)")).toBe("MacBook Pro (Built-in)");
});
