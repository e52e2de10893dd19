/** Who hears whom: rows speak, columns hear; Mulisa's row and column can be changed. */

import { html, nothing, type TemplateResult } from "lit";
import { ifDefined } from "lit/directives/if-defined.js";

import { routingSummary } from "../hearing";
import { hueOf, initialsOf } from "../people";
import type { Room } from "../room";
import { hears, speaksTo, type Wish } from "../routing";
import type { Place, Switchboard } from "../switchboard";
import type { Participant } from "../transport/types";
import { Every, View, Watch } from "./base";
import { icons } from "./icons";
import { arrivalWords } from "./words";

/** More participants than these stand closer on a narrow page. */
const FEW = 4;

/** One way a voice can go. */
interface Way {
  readonly from: Participant;
  readonly to: Participant;
  /** By Mulisa's routing; what people hear of each other is not hers to change. */
  readonly allowed: boolean;
  /** Null while `to` does not say. */
  readonly arrives: boolean | null;
  /** What a click asks for; null if it cannot be changed. */
  readonly wish: Wish | null;
}

export class RoutingView extends View {
  static override properties = {
    room: { attribute: false },
    switchboard: { attribute: false },
  };
  declare room: Room;
  declare switchboard: Switchboard;

  constructor() {
    super();
    new Every(this, 1000); // what arrived a while ago does not arrive now
    new Watch(this, () => this.room);
    new Watch(this, () => this.room, "reports");
    new Watch(this, () => this.switchboard);
  }

  override render(): TemplateResult {
    const { agent, routing, everybody } = this.room;
    const name = agent?.participant.name;
    return html`<section class="routing" data-testid="routing-panel" aria-label="Who hears whom">
      <p class="routing-sum">
        ${name === undefined
          ? "Everybody hears everybody."
          : routingSummary(name, routing, everybody)}
      </p>
      ${this.#matrix()} ${agent === null ? nothing : this.#everybody(agent.participant)}
      ${routingFailure(this.switchboard, "panel")} ${legend(name)}
    </section>`;
  }

  /** Put the focus where the first change can be made. */
  focusFirst(): void {
    this.querySelector<HTMLElement>("[role=checkbox]")?.focus();
  }

  #matrix(): TemplateResult {
    const all = this.#participants();
    // Its switches take the focus where it scrolls; without an agent there are none.
    return html`<div class="matrix-frame" tabindex=${this.room.agent === null ? 0 : nothing}>
      <table class="matrix" ?data-many=${all.length > FEW}>
        <caption class="unseen">
          Who hears whom: each row speaks, each column hears.
        </caption>
        <thead>
          <tr>
            <td class="matrix-corner"><span aria-hidden="true">speaks ↓<br />hears →</span></td>
            ${all.map((each) => html`<th scope="col">${this.#head(each)}</th>`)}
          </tr>
        </thead>
        <tbody>
          ${all.map((from) => this.#row(from, all))}
        </tbody>
      </table>
    </div>`;
  }

  /** Mulisa first, so that her row and her column stand at the edge; then oneself. */
  #participants(): Participant[] {
    const { agent, local, people } = this.room;
    const all = [agent, local, ...people];
    return all
      .filter((person) => person !== null)
      .map(({ participant, called }) => ({ ...participant, name: called }));
  }

  #row(from: Participant, all: readonly Participant[]): TemplateResult {
    return html`<tr data-hue=${hueOf(from.identity)} ?data-agent=${from.kind === "agent"}>
      <th scope="row">${this.#head(from)}</th>
      ${all.map((to) =>
        to === from
          ? html`<td class="matrix-self"></td>`
          : html`<td ?data-agent=${to.kind === "agent"}>${this.#cell(this.#way(from, to))}</td>`,
      )}
    </tr>`;
  }

  #head(participant: Participant): TemplateResult {
    const { identity, name, kind } = participant;
    const isLocal = identity === this.room.local?.participant.identity;
    const className = kind === "agent" ? "chip chip-agent" : "chip";
    return html`<span class="head" data-hue=${hueOf(identity)} title=${name}>
      <span class=${className} aria-hidden="true">${kind === "agent" ? "" : initialsOf(name)}</span>
      <span class="head-name">${name}</span>${isLocal ? html`<small>you</small>` : nothing}
    </span>`;
  }

  #way(from: Participant, to: Participant): Way {
    const { routing } = this.room;
    const arrives = this.room.arrives(from.identity, to.identity, performance.now());
    if (to.kind === "agent" && from.kind !== "agent") {
      const allowed = hears(routing, from.identity);
      const wish: Wish = { type: "hear", identity: from.identity, on: !allowed };
      return { from, to, arrives, allowed, wish };
    }
    if (from.kind === "agent" && to.kind !== "agent") {
      const allowed = speaksTo(routing, to.identity);
      const wish: Wish = { type: "speak", identity: to.identity, on: !allowed };
      return { from, to, arrives, allowed, wish };
    }
    return { from, to, arrives, allowed: true, wish: null };
  }

  #cell(way: Way): TemplateResult {
    const { from, to, allowed, arrives, wish } = way;
    const changing = wish !== null && this.switchboard.isChanging(wish);
    const label = wish?.type === "speak" ? `${from.name} speaks to ${to.name}` : `${to.name} hears ${from.name}`;
    const words = changing ? "changing" : arrivalWords(to.name, arrives);
    const mark = html`<span class="mark" aria-hidden="true"></span>`;
    if (wish === null) {
      return html`<span
        class="way"
        role="img"
        aria-label="${label}: ${words}"
        title="${label}: ${words}"
        data-testid="routing-cell"
        data-from=${from.identity}
        data-to=${to.identity}
        data-allowed="true"
        data-arriving=${arrives === true ? "true" : "false"}
        ?data-unknown=${arrives === null}
        >${mark}</span
      >`;
    }
    return html`<button
      class="way"
      role="checkbox"
      aria-checked=${allowed ? "true" : "false"}
      aria-label=${label}
      aria-busy=${changing ? "true" : "false"}
      title=${words}
      data-testid="routing-cell"
      data-from=${from.identity}
      data-to=${to.identity}
      data-allowed=${allowed ? "true" : "false"}
      data-arriving=${arrives === true ? "true" : "false"}
      ?data-unknown=${arrives === null}
      @click=${() => this.switchboard.wish(wish, "panel")}
    >
      ${mark}
    </button>`;
  }

  #everybody({ name }: Participant): TemplateResult {
    const on = this.room.routing.listeners === null;
    const changing = this.switchboard.isChanging({ type: "speak", identity: null });
    return html`<button
      class="everybody"
      role="checkbox"
      aria-checked=${on ? "true" : "false"}
      aria-label="${name} speaks to everybody"
      aria-describedby="everybody-means"
      aria-busy=${changing ? "true" : "false"}
      data-testid="routing-everybody"
      @click=${() => this.switchboard.wish({ type: "speak", identity: null, on: !on }, "panel")}
    >
      <span class="box" aria-hidden="true">${on ? icons.check : nothing}</span>
      <span
        >${name} speaks to everybody
        <small id="everybody-means"
          >${changing ? "changing" : on ? "and to whoever comes later" : "not to whoever comes later"}</small
        ></span
      >
    </button>`;
  }
}

/** What could not be changed from this place, and a way to try again. */
export function routingFailure(
  switchboard: Switchboard,
  place: Place,
): TemplateResult | typeof nothing {
  const failure = switchboard.failure(place, performance.now());
  if (failure === null) return nothing;
  return html`<div class="notice notice-warning" role="alert" data-testid="routing-error">
    ${icons.warning}
    <p>That could not be changed. ${failure.message}</p>
    <button @click=${() => switchboard.wish(failure.wish, place)}>Try again</button>
  </div>`;
}

function legend(agent: string | undefined): TemplateResult {
  const item = (words: string, allowed: boolean, arriving: boolean, unknown: boolean) =>
    html`<li>
      <span
        class="way"
        data-allowed=${ifDefined(allowed ? undefined : "false")}
        data-arriving=${arriving ? "true" : "false"}
        ?data-unknown=${unknown}
        ><span class="mark"></span></span
      >${words}
    </li>`;
  return html`<ul class="legend">
      ${item("arrives now", true, true, false)} ${item("nothing comes", true, false, false)}
      ${agent === undefined ? nothing : item("switched off", false, false, false)}
      ${item("unknown", true, false, true)}
    </ul>
    <p class="fine">Counted where it is heard, from the packets of the last second.</p>`;
}

customElements.define("mulisa-routing", RoutingView);
