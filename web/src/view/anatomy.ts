/** "How this call works": the call as a picture, who hears whom, her voice on its way, what if. */

import { html, type PropertyValues, type TemplateResult } from "lit";

import { Observer } from "../anatomy/observer";
import type { Switchboard } from "../switchboard";
import type { Visit } from "../visit";
import { View, Watch } from "./base";
import "./callgraph";
import "./routing";
import "./sourced";
import "./voiceway";
import "./whatif";

const KIND = {
  mesh: "This is a mesh: everybody is connected with everybody, and voices go straight from one to the other.",
  sfu: "This call has a server in the middle, an SFU: everybody has one connection, to it, and it passes each voice on to the others.",
} as const;

/** Looks at connections for as long as it is shown. */
export class Anatomy extends View {
  static override properties = { visit: { attribute: false }, switchboard: { attribute: false } };
  declare visit: Visit;
  declare switchboard: Switchboard;
  #observer: Observer | null = null;

  constructor() {
    super();
    new Watch(this, () => this.visit.room);
  }

  override connectedCallback(): void {
    super.connectedCallback();
    this.#observer?.start();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#observer?.stop();
  }

  protected override willUpdate(changed: PropertyValues<this>): void {
    if (!changed.has("visit")) return;
    this.#observer?.stop();
    this.#observer = new Observer(this.visit);
    this.#observer.start();
  }

  override render(): TemplateResult {
    const { visit, switchboard } = this;
    const { agent, expected, people } = visit.room;
    const observer = this.#observer;
    const name = agent?.participant.name ?? expected ?? "Mulisa";
    return html`<div class="anatomy" data-testid="anatomy">
      <section aria-labelledby="anatomy-graph">
        <h3 id="anatomy-graph">Who is connected with whom</h3>
        <p class="fine">${KIND[visit.topology]}</p>
        <mulisa-callgraph .visit=${visit} .observer=${observer}></mulisa-callgraph>
      </section>
      <section aria-labelledby="anatomy-routing">
        <h3 id="anatomy-routing">Who hears whom</h3>
        <mulisa-routing .room=${visit.room} .switchboard=${switchboard}></mulisa-routing>
      </section>
      <section aria-labelledby="anatomy-voice">
        <h3 id="anatomy-voice">${name}’s voice on its way</h3>
        <mulisa-voiceway .visit=${visit} .observer=${observer}></mulisa-voiceway>
      </section>
      <section aria-labelledby="anatomy-whatif">
        <h3 id="anatomy-whatif">Mesh or SFU?</h3>
        <mulisa-whatif .present=${people.length + 1} .agent=${name}></mulisa-whatif>
      </section>
      <mulisa-sources></mulisa-sources>
    </div>`;
  }
}

customElements.define("mulisa-anatomy", Anatomy);
