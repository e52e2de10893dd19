/** The call as a picture: who is connected with whom, and what goes over our own connections. */

import { html, nothing, svg, type PropertyValues, type SVGTemplateResult, type TemplateResult } from "lit";

import { type Chart, chartOf, type Edge, otherEnd, type Place, SFU, WIDTH } from "../anatomy/chart";
import type { EdgeReading, Observer } from "../anatomy/observer";
import type { Flow } from "../anatomy/traffic";
import { hueOf, initialsOf } from "../people";
import type { Person } from "../room";
import type { Visit } from "../visit";
import { bitRate, count, milliseconds, percent, perSecond } from "./amounts";
import { View, Watch } from "./base";
import { flowAtRate, PACKETS_PER_DOT } from "./lanes";
import { sourced } from "./sourced";

/** Half of what lies between the two directions, and what a face takes of a line. */
const LANE = 3.5;
const FACE = { person: 17, sfu: 21 } as const;
/** With more lines than these the figures stand in the list alone. */
const MAX_LABELS = 6;
/** From the middle of one's own face to what is written beside it. */
const BESIDE = 24;

const SOURCE = {
  rate: "From getStats of your browser: bytes and header bytes of RTP over the last second, without what UDP, IP and encryption add.",
  packets: "From getStats of your browser: packetsSent and packetsReceived over the last second.",
  sum: "From getStats of your browser: packetsSent and packetsReceived since this connection was made.",
  loss: "From getStats of your browser: packetsLost over the last seconds, and fractionLost as the other end reports it (RTCP).",
  delay: "From getStats of your browser: currentRoundTripTime of the pair of addresses in use, measured by STUN.",
  path: "From getStats of your browser: the types of the two candidates in use. Relay: by way of a TURN server.",
} as const;

/** One direction of one connection. */
interface Lane {
  readonly from: string;
  readonly to: string;
  /** Packets per second, of our own connections only. */
  readonly rate: number | null;
  /** Null: nobody who knows says so. */
  readonly flows: boolean | null;
}

export class CallGraph extends View {
  static override properties = { visit: { attribute: false }, observer: { attribute: false } };
  declare visit: Visit;
  declare observer: Observer;
  /** The stay of the agent whose lines are lit already. */
  #litFor: string | undefined;

  constructor() {
    super();
    new Watch(this, () => this.visit.room);
    new Watch(this, () => this.visit.room, "reports");
    new Watch(this, () => this.observer, "traffic");
  }

  override render(): TemplateResult | typeof nothing {
    const { local, agent } = this.visit.room;
    if (local === null) return nothing;
    const identities = [...this.#people.keys()];
    const cast = {
      identities,
      local: local.participant.identity,
      agent: agent?.participant.identity ?? null,
    };
    const chart = chartOf(this.visit.topology, cast);
    return html`<figure
        class="callgraph"
        data-testid="callgraph"
        data-topology=${this.visit.topology}
        .style=${`aspect-ratio: ${WIDTH} / ${chart.height}`}
      >
        ${this.#lines(chart)}
        <ul class="faces">
          ${chart.places.map((place) => this.#face(place, chart))}
        </ul>
        ${this.#labels(chart)}
      </figure>
      <p class="cost" data-testid="agent-cost">${this.#cost(chart)}</p>
      ${this.#own(chart)}
      <p class="fine">
        A dot is ${PACKETS_PER_DOT} packets, moving at their real rate. Between others your browser sees
        nothing: their thin lines show only what they report to arrive.
      </p>`;
  }

  protected override updated(changed: PropertyValues): void {
    super.updated(changed);
    flowAtRate(this);
    const { agent, local } = this.visit.room;
    if (local === null || agent === null || agent.participant.sid === this.#litFor) return;
    this.#litFor = agent.participant.sid;
    for (const line of this.querySelectorAll("[data-agents]")) line.classList.add("lit");
  }

  get #people(): Map<string, Person> {
    const { local, others } = this.visit.room;
    return local === null ? others : new Map([[local.participant.identity, local], ...others]);
  }

  #called(id: string): string {
    if (id === SFU) return "the server (SFU)";
    if (id === this.visit.room.local?.participant.identity) return "you";
    return this.#people.get(id)?.called ?? id;
  }

  #lines({ places, edges, height }: Chart): TemplateResult {
    const at = new Map(places.map((place) => [place.id, place]));
    const drawn = edges.map((edge) => {
      const [from, to] = [at.get(edge.from), at.get(edge.to)];
      return from && to ? this.#line(edge, from, to) : nothing;
    });
    return html`<svg viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label=${this.#summary(edges)}>
      ${drawn}
    </svg>`;
  }

  #summary(edges: readonly Edge[]): string {
    const own = edges.filter(({ isOwn }) => isOwn).length;
    const kind = this.visit.topology === "mesh" ? "Mesh" : "Star around the server";
    return `${kind}: ${edges.length} connections, ${own} of them yours. The list below has the figures.`;
  }

  #line(edge: Edge, from: Place, to: Place): SVGTemplateResult {
    const [one, other] = this.#lanes(edge);
    return svg`<g
      class="line"
      data-testid="edge"
      data-from=${edge.from}
      data-to=${edge.to}
      ?data-own=${edge.isOwn}
      ?data-agents=${edge.isAgents}
    >
      <path class="glow" d=${straight(from, to, 0)} />
      ${this.#lane(one, from, to)} ${this.#lane(other, to, from)}
    </g>`;
  }

  #lanes(edge: Edge): readonly [Lane, Lane] {
    const { from, to, isOwn } = edge;
    const there = { from, to, rate: null, flows: this.#flows(from, to) };
    const back = { from: to, to: from, rate: null, flows: this.#flows(to, from) };
    const { traffic } = this.#reading(edge) ?? {};
    if (!isOwn || !traffic) return [there, back];
    const outward = from === this.visit.room.local?.participant.identity;
    const [first, second] = outward ? [traffic.up, traffic.down] : [traffic.down, traffic.up];
    return [measured(there, first), measured(back, second)];
  }

  #lane({ from, to, rate, flows }: Lane, begin: Place, end: Place): SVGTemplateResult {
    const path = straight(begin, end, LANE);
    return svg`<g
      class="lane"
      data-hue=${from === SFU ? nothing : hueOf(from)}
      ?data-agent=${from === this.visit.room.agent?.participant.identity}
      data-from=${from}
      data-to=${to}
      data-state=${flows === null ? "unknown" : flows ? "flows" : "quiet"}
    >
      <path class="rail" d=${path} />
      ${rate === null || rate <= 0 ? nothing : svg`<path class="dots" d=${path} data-rate=${rate} />`}
    </g>`;
  }

  /** By the reports of those who receive; with an SFU, by anybody's whom it concerns. */
  #flows(from: string, to: string): boolean | null {
    const { room } = this.visit;
    const all = [...this.#people.keys()];
    const now = performance.now();
    const ways = all
      .filter((each) => each !== (from === SFU ? to : from))
      .map((each) => ({ from: from === SFU ? each : from, to: to === SFU ? each : to }));
    const told = ways.map((way) => room.arrives(way.from, way.to, now));
    if (told.includes(true)) return true;
    return told.includes(false) ? false : null;
  }

  #reading(edge: Edge): EdgeReading | undefined {
    const local = this.visit.room.local?.participant.identity ?? "";
    return edge.isOwn ? this.observer.edges.get(otherEnd(edge, local)) : undefined;
  }

  #face({ id, isAbove, ...place }: Place, chart: Chart): TemplateResult {
    const person = this.#people.get(id);
    const { kind, name } = person?.participant ?? { kind: "sfu", name: "SFU" };
    const isLocal = person !== undefined && person === this.visit.room.local;
    const initials = kind === "sfu" ? "SFU" : kind === "agent" ? "" : initialsOf(person?.called ?? name);
    return html`<li
      class="spot spot-${kind}"
      data-hue=${id === SFU ? nothing : hueOf(id)}
      data-side=${isAbove ? "above" : "below"}
      data-speaking=${person?.voice.speaking === true ? "true" : "false"}
      .style=${position(place, chart)}
    >
      <span class="chip chip-${kind}" aria-hidden="true">${initials}</span>
      ${kind === "sfu" ? nothing : html`<span class="spot-name">${isLocal ? "you" : person?.called}</span>`}
    </li>`;
  }

  #labels(chart: Chart): TemplateResult | typeof nothing {
    const own = chart.edges.filter(({ isOwn }) => isOwn);
    if (own.length > MAX_LABELS) return nothing;
    const at = new Map(chart.places.map((place) => [place.id, place]));
    const local = this.visit.room.local?.participant.identity ?? "";
    return html`<div class="edge-labels" aria-hidden="true" ?data-many=${own.length > 3}>
      ${own.map((edge) => {
        const [you, other] = [at.get(local), at.get(otherEnd(edge, local))];
        const { traffic } = this.#reading(edge) ?? {};
        if (!you || !other || !traffic) return nothing;
        const isBeside = other.id === SFU; // that line is too short to stand on
        const [x, y] = isBeside
          ? [you.x + BESIDE, you.y]
          : [between(you.x, other.x), between(you.y, other.y)];
        return html`<span ?data-beside=${isBeside} .style=${position({ x, y }, chart)} data-source=${SOURCE.rate}
          >↑ ${bitRate(traffic.up.bitRate)}<br />↓ ${bitRate(traffic.down.bitRate)}</span
        >`;
      })}
    </div>`;
  }

  /** What her presence costs, in words. */
  #cost({ edges }: Chart): TemplateResult | typeof nothing {
    const { agent, people } = this.visit.room;
    const name = agent?.participant.name;
    if (name === undefined) return nothing;
    const lines = edges.filter(({ isAgents }) => isAgents).length;
    if (this.visit.topology === "sfu") {
      return html`<b>${name} costs 1 connection</b>, her own. Everybody else keeps theirs, and is only told of
        her voice on it.`;
    }
    const all = people.length + 1;
    return html`<b>${name} costs ${lines} ${lines === 1 ? "connection" : "connections"}</b>, one with
      ${all === 1 ? "you" : `each of the ${all} people`}: everybody has one more because of her.`;
  }

  #own({ edges }: Chart): TemplateResult {
    const own = edges.filter(({ isOwn }) => isOwn);
    const local = this.visit.room.local?.participant.identity ?? "";
    return html`<div class="links-frame">
      <table class="links">
        <caption>
          ${own.length === 1 ? "Your connection" : `Your ${own.length} connections`}
        </caption>
        <thead>
          <tr>
            <th scope="col">with</th>
            <th scope="col">up</th>
            <th scope="col">down</th>
            <th scope="col">lost</th>
            <th scope="col">round trip</th>
            <th scope="col">path</th>
          </tr>
        </thead>
        <tbody>
          ${own.map((edge) => this.#row(otherEnd(edge, local), this.#reading(edge)))}
        </tbody>
      </table>
    </div>`;
  }

  #row(other: string, reading: EdgeReading | undefined): TemplateResult {
    const { traffic, quality } = reading ?? {};
    const lost = [quality?.loss, quality?.sentLoss].filter((each) => typeof each === "number");
    return html`<tr data-testid="link" data-with=${other === SFU ? "sfu" : other}>
      <th scope="row">${this.#called(other)}${reading?.connections === 2 ? ", one for each way" : nothing}</th>
      <td>${flowFigures(traffic?.up)}</td>
      <td>${flowFigures(traffic?.down)}</td>
      <td>${lost.length === 0 ? "–" : sourced(percent(Math.max(...lost)), SOURCE.loss)}</td>
      <td>${figure(quality?.roundTripMs, milliseconds, SOURCE.delay)}</td>
      <td>${quality?.path ? sourced(quality.path, SOURCE.path) : "–"}</td>
    </tr>`;
  }
}

function measured(lane: Lane, { packetRate }: Flow): Lane {
  return { ...lane, rate: packetRate, flows: packetRate > 0 };
}

function figure(
  value: number | null | undefined,
  say: (value: number) => string,
  source: string,
): TemplateResult | string {
  return value === null || value === undefined ? "–" : sourced(say(value), source);
}

function flowFigures(flow: Flow | undefined): TemplateResult | string {
  if (flow === undefined) return "–";
  return html`${sourced(bitRate(flow.bitRate), SOURCE.rate)}
    ${sourced(perSecond(flow.packetRate), `${SOURCE.packets} So far: ${count(flow.packets)} packets.`)}`;
}

/** From face to face, a little to the right of the way, as seen by who goes it. */
function straight(from: Place, to: Place, aside: number): string {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const length = Math.hypot(dx, dy) || 1;
  const [ux, uy] = [dx / length, dy / length];
  const [begin, end] = [faceOf(from), length - faceOf(to)];
  const point = (along: number) =>
    `${(from.x + ux * along - uy * aside).toFixed(1)} ${(from.y + uy * along + ux * aside).toFixed(1)}`;
  return `M${point(begin)}L${point(end)}`;
}

function faceOf({ id }: Place): number {
  return id === SFU ? FACE.sfu : FACE.person;
}

/** Nearer to the other end: one's own lines part there. */
function between(own: number, other: number): number {
  return own + (other - own) * 0.54;
}

/** As percentages: what is laid over the picture keeps its own size. */
function position({ x, y }: Pick<Place, "x" | "y">, { height }: Chart): string {
  return `left: ${((100 * x) / WIDTH).toFixed(2)}%; top: ${((100 * y) / height).toFixed(2)}%`;
}

customElements.define("mulisa-callgraph", CallGraph);
