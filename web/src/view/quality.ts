/** How good the way to somebody is: a shape and a word, and the figures behind them on demand. */

import { html, nothing, type TemplateResult } from "lit";

import type { Quality } from "../quality";
import type { Person, Room } from "../room";
import type { Topology } from "../transport/types";
import { milliseconds, percent } from "./amounts";
import { View, Watch } from "./base";
import { bars } from "./icons";
import { qualityWords } from "./words";

const STEPS = { good: 3, weak: 2, poor: 1 } as const;

export class QualityView extends View {
  static override properties = {
    room: { attribute: false },
    person: { attribute: false },
    /** On an SFU the figures are those of the way from the server. */
    topology: { attribute: false },
  };
  declare room: Room;
  declare person: Person;
  declare topology: Topology;

  constructor() {
    super();
    new Watch(this, () => this.room, "qualities");
    new Watch(this, () => this.room);
  }

  override render(): TemplateResult | typeof nothing {
    const { called, participant } = this.person;
    const quality = this.room.quality(participant.identity);
    if (quality === null) return nothing;
    const words = qualityWords(quality.level);
    return html`<button
        class="quality"
        data-testid="quality"
        data-level=${quality.level}
        data-path=${quality.path ?? nothing}
        aria-label="${words} to ${called}: show figures"
        title=${words}
        @click=${() => this.querySelector<HTMLElement>("[popover]")?.togglePopover()}
      >
        ${bars(STEPS[quality.level])}
      </button>
      <div class="menu" popover role="group" aria-label="Signal to ${called}">
        <h4>${called}: ${words.toLowerCase()}</h4>
        ${figures(quality, this.topology)}
        <p class="fine">Measured by your browser over the last seconds (getStats).</p>
      </div>`;
  }
}

function figures(quality: Quality, topology: Topology): TemplateResult {
  const { loss, sentLoss, roundTripMs, jitterMs, path } = quality;
  return html`<dl class="figures">
    ${figure("Lost on the way to you", known(loss, percent))}
    ${figure("Lost on the way from you", known(sentLoss, percent))}
    ${figure("There and back", known(roundTripMs, milliseconds))}
    ${figure("Arrives unevenly by", known(jitterMs, milliseconds))}
    ${figure("Path", path && (topology === "sfu" ? `${path}, by way of the server` : path))}
  </dl>`;
}

function figure(what: string, value: string | null): TemplateResult | typeof nothing {
  if (value === null) return nothing;
  return html`<div>
    <dt>${what}</dt>
    <dd>${value}</dd>
  </div>`;
}

function known(value: number | null, say: (value: number) => string): string | null {
  return value === null ? null : say(value);
}

customElements.define("mulisa-quality", QualityView);
