/**
 * What a call of N people and a silent agent costs in either topology, by arithmetic alone. Pure.
 *
 * The comparison's report calculates the same (`mulisa.compare.theory`); both are tested against
 * tests/golden/costs.json.
 */

import type { Topology } from "../transport/types";

/** What Opus makes of speech here, kb/s, in packets of 20 ms. */
const PAYLOAD_KBPS = 32;
const PACKETS_PER_SECOND = 50;
/** RTP's header, the tag of SRTP with AES-GCM, UDP and IPv4. */
const HEADER_BYTES = 12 + 16 + 8 + 20;
/** One voice on the wire, bits per second. */
export const VOICE_BIT_RATE = 1000 * PAYLOAD_KBPS + 8 * HEADER_BYTES * PACKETS_PER_SECOND;

/** With more microphones than these the SFU forwards the loudest only, so many. */
const ALL_FORWARDED = 8;
const LOUDEST = 5;

export interface Cost {
  /** RTCPeerConnections of each person. */
  readonly connectionsEach: number;
  readonly connections: number;
  /** Made so that the agent comes into the running call. */
  readonly connectionsForAgent: number;
  /** Of each person, bits per second on the wire, while every microphone is open. */
  readonly up: number;
  readonly down: number;
}

/** `people` beside the agent, at least one. */
export function costOf(topology: Topology, people: number): Cost {
  if (topology === "sfu") {
    const connections = people + 1;
    const down = (people > ALL_FORWARDED ? LOUDEST : people - 1) * VOICE_BIT_RATE;
    return { connectionsEach: 1, connections, connectionsForAgent: 1, up: VOICE_BIT_RATE, down };
  }
  return {
    connectionsEach: people,
    connections: (people * (people + 1)) / 2,
    connectionsForAgent: people,
    up: people * VOICE_BIT_RATE,
    down: (people - 1) * VOICE_BIT_RATE,
  };
}
