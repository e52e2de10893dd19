/**
 * Looks at our own connections, and closely at the agent's voice, for as long as somebody watches:
 * between `start` and `stop`. Tells `traffic` every second and `voice` many times a second.
 */

import { type Quality, QualityGauge } from "../quality";
import type { Room } from "../room";
import type { Topology, Transport } from "../transport/types";
import type { Stats } from "../transport/vitals";
import { SFU } from "./chart";
import { PacketGauge, type VoiceReading } from "./packets";
import { type Traffic, TrafficGauge } from "./traffic";

const TRAFFIC_INTERVAL_MS = 1_000;
/** Browsers answer from a cache of 50 ms. */
const VOICE_INTERVAL_MS = 60;
const SILENT_INTERVAL_MS = 250;

/** What is measured of one connection of ours; null until it can be said. */
export interface EdgeReading {
  /** RTCPeerConnections that make it up. */
  readonly connections: number;
  readonly traffic: Traffic | null;
  readonly quality: Quality | null;
}

/** What is looked at. */
export interface Call {
  readonly room: Room;
  readonly transport: Pick<Transport, "connections" | "voiceStats">;
  readonly topology: Topology;
}

class Gauges {
  readonly traffic = new TrafficGauge();
  readonly quality = new QualityGauge();
}

export class Observer extends EventTarget {
  /** Of our own connections, by who is at the other end: an identity, or `SFU`. */
  edges: ReadonlyMap<string, EdgeReading> = new Map();
  /** The agent's voice; null while there is none. */
  voice: VoiceReading | null = null;
  readonly #call: Call;
  readonly #gauges = new Map<string, Gauges>();
  #packets = new PacketGauge();
  #agentSid: string | undefined;
  #watching: AbortController | null = null;

  constructor(call: Call) {
    super();
    this.#call = call;
  }

  start(): void {
    this.stop();
    const watching = new AbortController();
    this.#watching = watching;
    const { signal } = watching;
    void every(() => this.#lookAtEdges(signal), signal);
    void every(() => this.#lookAtVoice(signal), signal);
  }

  /** Idempotent. What is known is forgotten: it would be old when it is looked at again. */
  stop(): void {
    this.#watching?.abort();
    this.#watching = null;
    this.#gauges.clear();
    this.#packets = new PacketGauge();
    this.edges = new Map();
    this.voice = null;
  }

  async #lookAtEdges(signal: AbortSignal): Promise<number> {
    const ways = this.#ways();
    for (const gone of [...this.#gauges.keys()].filter((id) => !ways.has(id))) this.#gauges.delete(gone);
    const edges = await Promise.all(Array.from(ways, ([id, connections]) => this.#edge(id, connections)));
    if (signal.aborted) return 0;
    this.edges = new Map(edges);
    this.dispatchEvent(new Event("traffic"));
    return TRAFFIC_INTERVAL_MS;
  }

  /** With an SFU one connection, or one for each direction, leads to all. */
  #ways(): Map<string, readonly RTCPeerConnection[]> {
    const connections = this.#call.transport.connections();
    if (this.#call.topology === "sfu") return new Map([[SFU, [...new Set(connections.values())]]]);
    return new Map(Array.from(connections, ([identity, connection]) => [identity, [connection]]));
  }

  async #edge(id: string, connections: readonly RTCPeerConnection[]): Promise<[string, EdgeReading]> {
    const gauges = this.#gauges.get(id) ?? new Gauges();
    this.#gauges.set(id, gauges);
    const stats: Stats[] = await Promise.all(connections.map((each) => each.getStats()));
    const quality = gauges.quality.look(stats, performance.now());
    return [id, { connections: connections.length, traffic: gauges.traffic.look(stats), quality }];
  }

  async #lookAtVoice(signal: AbortSignal): Promise<number> {
    const agent = this.#call.room.agent?.participant;
    if (agent?.sid !== this.#agentSid) this.#packets = new PacketGauge();
    this.#agentSid = agent?.sid;
    const stats = agent && (await this.#call.transport.voiceStats(agent.identity));
    if (signal.aborted) return 0;
    this.voice = stats ? this.#packets.look(stats, performance.now()) : null;
    this.dispatchEvent(new Event("voice"));
    return (this.voice?.packetRate ?? 0) > 0 ? VOICE_INTERVAL_MS : SILENT_INTERVAL_MS;
  }
}

/** Look, and again after as many milliseconds as the look says, while nobody aborts. */
async function every(look: () => Promise<number>, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    let wait = TRAFFIC_INTERVAL_MS;
    try {
      if (!document.hidden) wait = await look();
    } catch (error) {
      console.debug("a connection that closes cannot be counted", error);
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}
