/** The bar at the bottom of a room: microphone, devices, routing, how it works, link, keys, leave. */

import { html, nothing, type TemplateResult } from "lit";

import type { Visit } from "../visit";
import { View, Watch } from "./base";
import "./devices";
import { icons } from "./icons";
import "./meter";

const COPIED_MS = 2_000;

export class Bar extends View {
  static override properties = {
    visit: { attribute: false },
    /** Who hears whom is shown. */
    routing: { attribute: false },
    /** How this call works is shown. */
    anatomy: { attribute: false },
    copied: { state: true },
  };
  declare visit: Visit;
  declare routing: boolean;
  declare anatomy: boolean;
  declare copied: boolean;

  constructor() {
    super();
    this.routing = false;
    this.anatomy = false;
    this.copied = false;
    new Watch(this, () => this.visit.mic);
  }

  override render(): TemplateResult {
    const { mic, speaker } = this.visit;
    return html`<nav class="bar" aria-label="Your microphone and this room">
      ${mic.track === null ? this.#noMicrophone() : this.#microphone()}
      <button popovertarget="devices" title="Choose microphone and speaker">
        ${icons.devices}<span>Devices</span>
      </button>
      <div id="devices" class="menu" popover>
        <mulisa-devices .mic=${mic} .speaker=${speaker}></mulisa-devices>
      </div>
      <button
        class="route"
        data-testid="routing"
        title="Choose who hears whom (R)"
        aria-expanded=${this.routing ? "true" : "false"}
        aria-controls="panel-routing"
        @click=${() => this.#emit("toggle-routing")}
      >
        ${icons.routing}<span>Route voices</span>
      </button>
      <button
        class="explain"
        data-testid="how"
        title="How this call works (H)"
        aria-expanded=${this.anatomy ? "true" : "false"}
        aria-controls="panel-anatomy"
        @click=${() => this.#emit("toggle-anatomy")}
      >
        ${icons.anatomy}<span>How<span class="wide-only"> it works</span></span>
      </button>
      <button class="copy" @click=${() => void this.#copy()} title="Copy the link to this room">
        ${this.copied ? icons.check : icons.link}<span aria-live="polite"
          >${this.copied ? "Copied" : "Copy link"}</span
        >
      </button>
      <button class="keys-button" title="Keys (?)" @click=${() => this.#emit("show-keys")}>
        ${icons.keys}<span>Keys</span>
      </button>
      <button class="leave" data-testid="leave" @click=${() => this.#emit("leave-room")}>
        ${icons.leave}<span>Leave</span>
      </button>
    </nav>`;
  }

  #microphone(): TemplateResult {
    const { mic } = this.visit;
    return html`<button
        class="mute"
        data-testid="mute"
        aria-pressed=${mic.muted ? "true" : "false"}
        title="${mic.muted ? "Unmute" : "Mute"} (M)"
        @click=${() => this.toggleMuted()}
      >
        ${mic.muted ? icons.micOff : icons.mic}<span>${mic.muted ? "Unmute" : "Mute"}</span>
        <mulisa-meter .mic=${mic}></mulisa-meter>
      </button>
      <button
        class="hold"
        data-testid="hold"
        aria-pressed=${this.holding ? "true" : "false"}
        ?disabled=${!mic.muted && !this.holding}
        title="Hold to talk while you are muted (space)"
        @pointerdown=${(event: PointerEvent) => this.#hold(event)}
        @pointerup=${() => this.release()}
        @pointercancel=${() => this.release()}
        @contextmenu=${(event: Event) => event.preventDefault()}
        @keydown=${(event: KeyboardEvent) => this.#holdByKey(event)}
        @keyup=${() => this.release()}
        @blur=${() => this.release()}
      >
        ${icons.hold}<span>${this.holding ? "Talking" : "Hold to talk"}</span>
      </button>`;
  }

  #noMicrophone(): TemplateResult {
    const { mic } = this.visit;
    return html`<button
      class="mute"
      data-testid="mute"
      aria-pressed="true"
      ?disabled=${mic.opening}
      @click=${() => void mic.open()}
    >
      ${icons.micOff}<span>${mic.opening ? "Asking" : "Use microphone"}</span>${nothing}
    </button>`;
  }

  /** Push-to-talk is on: unmuted only for as long as it is held. */
  holding = false;

  hold(): void {
    const { mic } = this.visit;
    if (this.holding || !mic.muted || mic.track === null) return;
    this.holding = true;
    mic.setMuted(false);
  }

  release(): void {
    if (!this.holding) return;
    this.holding = false;
    this.visit.mic.setMuted(true);
  }

  toggleMuted(): void {
    const { mic } = this.visit;
    if (mic.track !== null && !this.holding) mic.setMuted(!mic.muted);
  }

  /** What the button opened was closed, and the focus with it. */
  focusOn(opened: "routing" | "anatomy"): void {
    this.querySelector<HTMLElement>(`[aria-controls=panel-${opened}]`)?.focus();
  }

  #hold({ currentTarget, pointerId }: PointerEvent): void {
    if (currentTarget instanceof HTMLElement) currentTarget.setPointerCapture(pointerId);
    this.hold();
  }

  /** For who goes from button to button by keyboard: it is held, not pressed. */
  #holdByKey(event: KeyboardEvent): void {
    if (event.key !== " " && event.key !== "Enter") return;
    event.preventDefault();
    event.stopPropagation();
    this.hold();
  }

  async #copy(): Promise<void> {
    const link = `${location.origin}${location.pathname}`;
    try {
      await navigator.clipboard.writeText(link);
    } catch {
      window.prompt("Copy this link", link); // no clipboard over plain http
      return;
    }
    this.copied = true;
    setTimeout(() => {
      this.copied = false;
    }, COPIED_MS);
  }

  #emit(name: string): void {
    this.dispatchEvent(new CustomEvent(name, { bubbles: true }));
  }
}

customElements.define("mulisa-bar", Bar);
