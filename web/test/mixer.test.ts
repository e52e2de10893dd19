// @vitest-environment happy-dom
/** Several tracks of one participant, heard as one stream that stays the same. */

import { afterEach, beforeEach, expect, it, vi } from "vitest";

import { Speaker } from "../src/speaker";

class FakeContext extends EventTarget {
  state = "running";
  readonly mixed: MediaStreamTrack[] = [];

  createMediaStreamSource(stream: MediaStream) {
    const [track] = stream.getAudioTracks();
    if (track === undefined) throw new Error("an empty stream cannot be a source");
    return {
      connect: () => this.mixed.push(track),
      disconnect: () => this.mixed.splice(this.mixed.indexOf(track), 1),
    };
  }
  become(state: string): void {
    this.state = state;
    this.dispatchEvent(new Event("statechange"));
  }
}

const [voice, whisper] = [{ id: "voice" }, { id: "whisper" }] as [MediaStreamTrack, MediaStreamTrack];

/** Of tracks that are not the browser's. */
class FakeStream extends MediaStream {
  readonly #given: MediaStreamTrack[];

  constructor(given: MediaStreamTrack[] = []) {
    super();
    this.#given = given;
  }
  override getAudioTracks(): MediaStreamTrack[] {
    return this.#given;
  }
}

function stream(...tracks: MediaStreamTrack[]): MediaStream {
  return new FakeStream(tracks);
}

let context: FakeContext;
let speaker: Speaker;
let helpers: HTMLAudioElement[];

function heard(): MediaProvider | null {
  const audios = document.querySelectorAll<HTMLAudioElement>("audio[data-identity=mulisa]");
  expect(audios).toHaveLength(1);
  return audios[0]?.srcObject ?? null;
}

beforeEach(() => {
  vi.stubGlobal("MediaStream", FakeStream);
  vi.stubGlobal("MediaStreamAudioDestinationNode", class {
    readonly stream = stream();
  });
  helpers = [];
  vi.stubGlobal("Audio", function () {
    const audio = document.createElement("audio");
    helpers.push(audio);
    return audio;
  });
  vi.spyOn(HTMLMediaElement.prototype, "play").mockResolvedValue();
  context = new FakeContext();
  speaker = new Speaker(document.body, context as unknown as AudioContext);
});

afterEach(() => {
  speaker.close();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

it("comes from one element from before the first track to after the last", () => {
  const first = speaker.play("mulisa", stream(), true);
  expect(heard()).toBe(first);
  for (const tracks of [[voice], [voice, whisper], [whisper], []]) {
    expect(speaker.play("mulisa", stream(...tracks), true)).toBe(first);
    expect(heard()).toBe(first);
    expect(context.mixed).toEqual(tracks);
  }
});

it("is heard once: from the mix, or from each track while the browser holds the mix back", () => {
  context.state = "suspended";
  speaker.play("mulisa", stream(voice, whisper), true);
  expect(helpers.map(({ muted }) => muted)).toEqual([false, false]);
  context.become("running");
  expect(helpers.map(({ muted }) => muted)).toEqual([true, true]);
});

it("tells that a click is needed, and plays everything after it", async () => {
  const play = vi.spyOn(HTMLMediaElement.prototype, "play");
  play.mockRejectedValue(new DOMException("no click yet", "NotAllowedError"));
  speaker.play("mulisa", stream(voice), true);
  await vi.waitFor(() => expect(speaker.blocked).toBe(true));
  play.mockReset().mockResolvedValue();
  await speaker.unblock();
  expect(speaker.blocked).toBe(false);
  expect(play).toHaveBeenCalledTimes(2);
});

it("ends with the participant", () => {
  speaker.play("mulisa", stream(voice, whisper), true);
  speaker.stop("mulisa");
  expect(context.mixed).toEqual([]);
  expect(helpers.map(({ srcObject }) => srcObject)).toEqual([null, null]);
  expect(document.querySelector("audio")).toBeNull();
});

it("of one track is that track's own stream", () => {
  const direct = stream(voice);
  expect(speaker.play("mulisa", direct)).toBe(direct);
  expect(heard()).toBe(direct);
  expect(context.mixed).toEqual([]);
});
