/** Where everybody and every connection stands in the picture of a call. Pure. */

import type { Topology } from "../transport/types";

/** The SFU's place among identities, which are never empty. */
export const SFU = "";

export interface Place {
  /** An identity, or `SFU`. */
  readonly id: string;
  readonly x: number;
  readonly y: number;
  /** In the upper half: a name stands above it, out of the way of its lines. */
  readonly isAbove: boolean;
}

/** One connection; of those with the SFU, `to` is the SFU. */
export interface Edge {
  readonly from: string;
  readonly to: string;
  /** Our own browser is one of its ends. */
  readonly isOwn: boolean;
  /** It is there because the agent is. */
  readonly isAgents: boolean;
}

/** In units of which a picture is `WIDTH` wide. */
export interface Chart {
  readonly height: number;
  readonly places: readonly Place[];
  readonly edges: readonly Edge[];
}

/** Who is in the call; oneself is always one of `identities`. */
export interface Cast {
  readonly identities: readonly string[];
  readonly local: string;
  readonly agent: string | null;
}

export const WIDTH = 400;
const CENTRE = { x: WIDTH / 2, y: 0 } as const;
const RADIUS = { x: 138, y: 104 } as const;
/** For a face and its name. */
const MARGIN = 50;

export function chartOf(topology: Topology, cast: Cast): Chart {
  const around = circle(ordered(cast));
  if (topology === "mesh") return framed(around, meshEdges(cast));
  return framed([...around, { id: SFU, ...CENTRE, isAbove: false }], starEdges(cast));
}

/** The end that is not this one. */
export function otherEnd({ from, to }: Edge, end: string): string {
  return from === end ? to : from;
}

/** Oneself at the bottom, the agent opposite, so that one's own lines fan out. */
function ordered({ identities, local, agent }: Cast): string[] {
  const others = identities.filter((each) => each !== local && each !== agent);
  const half = Math.ceil(others.length / 2);
  const left = [local, ...others.slice(0, half)];
  return [...left, ...(agent === null ? [] : [agent]), ...others.slice(half)];
}

/** Clockwise from the bottom. */
function circle(identities: readonly string[]): Place[] {
  return identities.map((id, index) => {
    const angle = Math.PI / 2 + (2 * Math.PI * index) / identities.length;
    const [x, y] = [CENTRE.x + RADIUS.x * Math.cos(angle), CENTRE.y + RADIUS.y * Math.sin(angle)];
    return { id, x, y, isAbove: y < CENTRE.y - 1 };
  });
}

/** No higher than what is in it. */
function framed(places: readonly Place[], edges: readonly Edge[]): Chart {
  const heights = places.map(({ y }) => y);
  const [top, bottom] = [Math.min(...heights) - MARGIN, Math.max(...heights) + MARGIN];
  return { places: places.map((place) => ({ ...place, y: place.y - top })), edges, height: bottom - top };
}

/** Everybody with everybody. */
function meshEdges({ identities, local, agent }: Cast): Edge[] {
  return identities.flatMap((from, index) =>
    identities.slice(index + 1).map((to) => ({
      from,
      to,
      isOwn: from === local || to === local,
      isAgents: from === agent || to === agent,
    })),
  );
}

/** Everybody with the SFU. */
function starEdges({ identities, local, agent }: Cast): Edge[] {
  return identities.map((from) => ({ from, to: SFU, isOwn: from === local, isAgents: from === agent }));
}
