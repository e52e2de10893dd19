/** Which microphone; in the lobby and in the room's bar. */

import { html, type TemplateResult } from "lit";

import { writeDevice } from "../memory";
import type { Microphone } from "../mic";
import { View, Watch } from "./base";

export class Devices extends View {
  static override properties = { mic: { attribute: false } };
  declare mic: Microphone;

  constructor() {
    super();
    new Watch(this, () => this.mic);
  }

  override render(): TemplateResult {
    const { devices, track } = this.mic;
    const current = track?.getSettings().deviceId ?? this.mic.deviceId;
    return html`<label class="field">
      <span>Microphone</span>
      <select ?disabled=${devices.length === 0} @change=${(event: Event) => this.#choose(event)}>
        ${devices.length === 0 ? html`<option>None so far</option>` : null}
        ${devices.map(
          ({ id, label }, index) =>
            html`<option value=${id} ?selected=${id === current}>
              ${label || `Microphone ${index + 1}`}
            </option>`,
        )}
      </select>
    </label>`;
  }

  #choose({ target }: Event): void {
    if (!(target instanceof HTMLSelectElement)) return;
    writeDevice(target.value);
    void this.mic.open(target.value);
  }
}

customElements.define("mulisa-devices", Devices);
