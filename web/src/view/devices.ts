/** Which microphone and which loudspeaker; in the lobby and in the room's bar. */

import { html, nothing, type TemplateResult } from "lit";

import { writeDevice, writeSpeaker } from "../memory";
import type { Microphone } from "../mic";
import { type Device, labelOf } from "../sound";
import type { Speaker } from "../speaker";
import { View, Watch } from "./base";
import "./meter";

export class Devices extends View {
  static override properties = { mic: { attribute: false }, speaker: { attribute: false } };
  declare mic: Microphone;
  declare speaker: Speaker;

  constructor() {
    super();
    new Watch(this, () => this.mic);
    new Watch(this, () => this.speaker);
  }

  override render(): TemplateResult {
    const { devices, track } = this.mic;
    const current = track?.getSettings().deviceId ?? this.mic.deviceId;
    return html`<div class="devices">
      <div>
        <label class="field">
          <span>Microphone</span>
          <select
            data-testid="microphones"
            ?disabled=${devices.length === 0}
            @change=${(event: Event) => this.#chooseMicrophone(event)}
          >
            ${devices.length === 0 ? html`<option>None so far</option>` : nothing}
            ${options(devices, current, "Microphone")}
          </select>
        </label>
        <div class="device-level">
          <mulisa-meter .mic=${this.mic}></mulisa-meter>
          <span>${this.#levelWords()}</span>
        </div>
      </div>
      ${this.#speakers()}
    </div>`;
  }

  #levelWords(): string {
    const { track, muted } = this.mic;
    if (track === null) return "Waiting for your permission";
    return muted ? "You are muted" : "Speak: the bar moves";
  }

  /** Not where the browser leaves the choice to the system. */
  #speakers(): TemplateResult | typeof nothing {
    const { devices, deviceId } = this.speaker;
    if (devices.length === 0) return nothing;
    const known = devices.some(({ id }) => id === "default") ? "default" : "";
    return html`<label class="field">
      <span>Speaker</span>
      <select data-testid="speakers" @change=${(event: Event) => this.#chooseSpeaker(event)}>
        ${known === "" ? html`<option value="" ?selected=${deviceId === null}>Default</option>` : nothing}
        ${options(devices, deviceId ?? known, "Speaker")}
      </select>
    </label>`;
  }

  #chooseMicrophone({ target }: Event): void {
    if (!(target instanceof HTMLSelectElement)) return;
    writeDevice(target.value);
    void this.mic.open(target.value);
  }

  #chooseSpeaker({ target }: Event): void {
    if (!(target instanceof HTMLSelectElement)) return;
    const id = target.value === "" ? null : target.value;
    writeSpeaker(id);
    this.speaker.choose(id);
  }
}

function options(devices: readonly Device[], current: string | null, kind: string): TemplateResult[] {
  return devices.map(
    ({ id, label }, index) =>
      html`<option value=${id} .selected=${id === current}>
        ${id === "default" ? `Default: ${labelOf(label) || "as the system has it"}` : labelOf(label) || `${kind} ${index + 1}`}
      </option>`,
  );
}

customElements.define("mulisa-devices", Devices);
