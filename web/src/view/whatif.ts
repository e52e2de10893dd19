/** "What if we were N?": what a call of so many would cost in both topologies, by arithmetic. */

import { html, type TemplateResult } from "lit";

import { type Cost, costOf, VOICE_BIT_RATE } from "../anatomy/theory";
import { bitRate } from "./amounts";
import { View } from "./base";
import { sourced } from "./sourced";

const MAX_PEOPLE = 50;
const VOICE = `at ${VOICE_BIT_RATE / 1000} kb/s: 32 of Opus, the rest RTP, SRTP, UDP and IP`;

const FORMULA = {
  connections: "Arithmetic: N (N + 1) / 2 in a mesh, which grows with the square of N; N + 1 with an SFU.",
  each: "Arithmetic: one with everybody else and one with her in a mesh; one with an SFU.",
  agent: "Arithmetic: one for each person in a mesh; one with an SFU.",
  up: `Arithmetic: your voice once on each of your connections, ${VOICE}.`,
  down: `Arithmetic: the other N - 1 voices while every microphone is open and she is silent, ${VOICE}.`,
} as const;

type Say = (value: number) => string;

export class WhatIf extends View {
  static override properties = {
    /** In the room now, oneself included. */
    present: { attribute: false },
    agent: { attribute: false },
    people: { state: true },
  };
  declare present: number;
  declare agent: string;
  declare people: number | null;

  constructor() {
    super();
    this.people = null;
    this.present = 1;
    this.agent = "Mulisa";
  }

  override render(): TemplateResult {
    const people = this.people ?? Math.max(1, this.present);
    const costs = [costOf("mesh", people), costOf("sfu", people)] as const;
    const row = (title: string, source: string, of: (cost: Cost) => number, say: Say = String) =>
      amounts(title, source, costs.map(of), say);
    return html`<label class="whatif-slider"
        ><span>What if we were <output>${people}</output>, and ${this.agent}?</span>
        <input
          type="range"
          min="1"
          max=${MAX_PEOPLE}
          data-testid="whatif"
          .value=${String(people)}
          @input=${({ target }: Event) => (this.people = Number((target as HTMLInputElement).value))}
        />
      </label>
      <table class="whatif" data-testid="whatif-table">
        <thead>
          <tr>
            <td></td>
            <th scope="col">mesh</th>
            <th scope="col">SFU</th>
          </tr>
        </thead>
        <tbody>
          ${row("Connections in all", FORMULA.connections, (cost) => cost.connections)}
          ${row("Connections of each person", FORMULA.each, (cost) => cost.connectionsEach)}
          ${row(`Made for ${this.agent}`, FORMULA.agent, (cost) => cost.connectionsForAgent)}
          ${row("Upload of each person", FORMULA.up, (cost) => cost.up, bitRate)}
          ${row("Download of each person", FORMULA.down, (cost) => cost.down, bitRate)}
        </tbody>
      </table>`;
  }
}

/** A row of the table, with a bar for each amount. */
function amounts(title: string, source: string, values: readonly number[], say: Say): TemplateResult {
  const most = Math.max(1, ...values);
  return html`<tr>
    <th scope="row">${title}</th>
    ${values.map(
      (value) =>
        html`<td>
          ${sourced(say(value), source)}<span class="amount"
            ><i .style=${`width: ${((100 * value) / most).toFixed(1)}%`}></i
          ></span>
        </td>`,
    )}
  </tr>`;
}

customElements.define("mulisa-whatif", WhatIf);
