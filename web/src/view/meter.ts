/** A bar that shows how loud one's own microphone is. */

import { html, type TemplateResult } from "lit";

import { Voice } from "../level";
import type { Microphone } from "../mic";
import { Every, View } from "./base";

const INTERVAL_MS = 40;
const STEPS = 12;

export class LevelMeter extends View {
  static override properties = { mic: { attribute: false } };
  declare mic: Microphone;
  readonly #voice = new Voice();

  constructor() {
    super();
    new Every(this, INTERVAL_MS, () => this.#read());
  }

  override render(): TemplateResult {
    const steps = Array.from({ length: STEPS }, () => html`<i></i>`);
    return html`<div class="meter" role="img" aria-label="Microphone level">${steps}</div>`;
  }

  #read(): void {
    this.#voice.receive(this.mic.read(), performance.now());
    const lit = Math.round(this.#voice.level * STEPS);
    for (const [index, step] of this.querySelectorAll("i").entries()) {
      step.classList.toggle("lit", index < lit);
    }
  }
}

customElements.define("mulisa-meter", LevelMeter);
