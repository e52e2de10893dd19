// @vitest-environment happy-dom
/** A visit takes the transport that its room's topology needs. */

import { afterEach, beforeEach, expect, it, vi } from "vitest";

import { readToken } from "../src/memory";
import type { Microphone } from "../src/mic";
import type { Speaker } from "../src/speaker";
import type { Topology } from "../src/transport/types";
import { Visit } from "../src/visit";

interface Options {
  admit: () => Promise<{ token: string }>;
  relayOnly: boolean;
}

const { made, FakeTransport } = vi.hoisted(() => {
  class FakeTransport {
    readonly calls: string[] = [];
    constructor(readonly topology: string, readonly options: Options) {
      made.push(this);
    }
    join(): void {
      this.calls.push("join");
    }
    leave(): void {
      this.calls.push("leave");
    }
    setTrack(): void {
      this.calls.push("setTrack");
    }
    setMuted(): void {
      this.calls.push("setMuted");
    }
  }
  const made: InstanceType<typeof FakeTransport>[] = [];
  return { made, FakeTransport };
});

vi.mock("../src/transport/mesh", () => ({
  MeshTransport: class extends FakeTransport {
    constructor(options: Options) {
      super("mesh", options);
    }
  },
}));
vi.mock("../src/transport/sfu", () => ({
  SFUTransport: class extends FakeTransport {
    constructor(options: Options) {
      super("sfu", options);
    }
  },
}));

const requests: unknown[] = [];
let answer: Topology = "mesh";
let visit: Visit;

function create(topology: Topology | null): Visit {
  const mic = Object.assign(new EventTarget(), { track: null, muted: false, close: vi.fn() });
  return new Visit(
    { room: "garden", name: "Alice", relayOnly: true, topology },
    {
      context: {} as AudioContext,
      mic: mic as unknown as Microphone,
      speaker: { close: vi.fn() } as unknown as Speaker,
    },
  );
}

/** The transport in use asks to be admitted. */
async function admit(): Promise<string | undefined> {
  return (await made.at(-1)?.options.admit())?.token;
}

beforeEach(() => {
  made.length = requests.length = 0;
  answer = "mesh";
  let n = 0;
  vi.stubGlobal("fetch", (_: string, { body }: { body: string }) => {
    requests.push(JSON.parse(body));
    n += 1;
    const admission = { token: `t${n}`, topology: answer, agent: null };
    return Promise.resolve({ ok: true, json: () => Promise.resolve(admission) });
  });
  sessionStorage.clear();
});

afterEach(() => {
  visit.leave();
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

it("stays with the mesh in a mesh room, and asks for nothing else", async () => {
  visit = create(null);
  visit.join();
  expect(await admit()).toBe("t1");
  expect(requests).toEqual([{ name: "Alice" }]);
  expect(made.map(({ topology }) => topology)).toEqual(["mesh"]);
});

it("changes to the SFU with the very admission that said so, then asks anew", async () => {
  answer = "sfu";
  visit = create("sfu");
  visit.join();
  await admit();
  expect(requests).toEqual([{ name: "Alice", topology: "sfu" }]);
  const [mesh, sfu] = made;
  expect(mesh?.calls.at(-1)).toBe("leave");
  expect(sfu).toMatchObject({ topology: "sfu", calls: ["setTrack", "setMuted", "join"] });
  expect(sfu?.options.relayOnly).toBe(true);
  expect(visit.topology).toBe("sfu");
  expect(await admit()).toBe("t1");
  expect(await admit()).toBe("t2");
  expect(requests[1]).toEqual({ name: "Alice", token: "t1", topology: "sfu" });
});

it("follows a room that is of another kind after a restart", async () => {
  answer = "sfu";
  visit = create(null);
  visit.join();
  await admit();
  await admit();
  answer = "mesh";
  await admit();
  expect(made.map(({ topology }) => topology)).toEqual(["mesh", "sfu", "mesh"]);
  expect(made[1]?.calls.at(-1)).toBe("leave");
  expect(made[2]?.calls.at(-1)).toBe("join");
});

it("that was left while it changed joins nothing", async () => {
  answer = "sfu";
  visit = create(null);
  visit.join();
  const admitted = admit();
  visit.leave();
  await admitted;
  expect(made.at(-1)?.calls).not.toContain("join");
});

it("renews its token, which a long visit would outlive", async () => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  visit = create(null);
  visit.join();
  vi.spyOn(console, "debug").mockReturnValue();
  await admit();
  await vi.advanceTimersByTimeAsync(3_600_000);
  expect(readToken("garden")).toBe("t2");
  expect(requests[1]).toEqual({ name: "Alice", token: "t1" });
  vi.stubGlobal("fetch", () => Promise.reject(new Error("offline")));
  await vi.advanceTimersByTimeAsync(3_600_000);
  expect(readToken("garden")).toBe("t2");
  visit.leave();
  expect(vi.getTimerCount()).toBe(0);
});
