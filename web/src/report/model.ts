/** What the report shows, as src/mulisa/compare/report.py makes it: words are made there. */

/** In the order in which they are shown; mediasoup only where it was measured. */
export const TOPOLOGIES = ["mesh", "sfu", "mediasoup"] as const;
export type Topology = (typeof TOPOLOGIES)[number];
export const NAMES: Readonly<Record<Topology, string>> = {
  mesh: "mesh",
  sfu: "SFU",
  mediasoup: "mediasoup",
};

/** On the x axis: people in the call, or a condition. */
export type Place = number | string;

export interface Mark {
  readonly topology: Topology;
  readonly x: Place;
  readonly median: number;
  readonly low: number;
  readonly high: number;
  readonly saturated: boolean;
}

export interface Point {
  readonly topology: Topology;
  readonly x: Place;
  readonly y: number;
}

export interface Chart {
  readonly title: string;
  readonly unit: string;
  readonly condition: string;
  readonly over: "people" | "conditions";
  readonly beside: string;
  readonly ceiling: number;
  readonly marks: readonly Mark[];
  readonly theory: readonly Point[];
  readonly beyond: readonly Point[];
}

export interface Cell {
  readonly median: string;
  readonly extent: string;
  readonly samples: number;
  readonly theory: string;
  readonly saturated: boolean;
  readonly note: string;
}

export interface TableLine {
  readonly people: number;
  readonly condition: string;
  /** One for each of the table's topologies. */
  readonly cells: readonly (Cell | null)[];
}

export interface Table {
  readonly title: string;
  readonly unit: string;
  readonly each: string;
  readonly topologies: readonly Topology[];
  readonly lines: readonly TableLine[];
}

export interface Break {
  readonly topology: Topology;
  readonly what: string;
  readonly people: number | null;
  readonly law: string;
}

export interface Section {
  readonly name: string;
  readonly title: string;
  readonly plain: string;
  readonly see: string;
  readonly how: string;
  readonly missing: string;
  readonly agreement: string;
  readonly notes: readonly string[];
  readonly charts: readonly Chart[];
  readonly tables: readonly Table[];
  readonly breaks: readonly Break[];
}

export interface SummaryLine {
  readonly row: string;
  readonly title: string;
  readonly condition: string;
  readonly unit: string;
  readonly people: number;
  /** One for each of the story's topologies; empty for what was not measured. */
  readonly medians: readonly string[];
  readonly ratio: string;
  readonly saturated: boolean;
}

export interface Stack {
  readonly topology: Topology;
  readonly side: string;
  readonly software: string;
  readonly codec: string;
  readonly packet_ms: number;
  readonly jitter_buffer: string;
}

export interface Report {
  readonly story: {
    readonly people: number;
    readonly headline: string;
    readonly paragraph: string;
    readonly caveat: string;
    readonly topologies: readonly Topology[];
    readonly lines: readonly SummaryLine[];
  };
  readonly facts: readonly string[];
  readonly remarks: readonly string[];
  readonly sections: readonly Section[];
  readonly method: readonly string[];
  readonly machine: readonly (readonly [string, string])[];
  readonly versions: readonly (readonly [string, string])[];
  readonly stacks: readonly Stack[];
  readonly files: readonly { readonly name: string; readonly type: string; readonly text: string }[];
}
