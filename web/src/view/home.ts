/** `/`: choose a room and go. */

import { html, nothing, type TemplateResult } from "lit";

import { isRoomName, roomPath, suggestRoomName } from "../names";
import { View } from "./base";
import { orb } from "./orb";

export class Home extends View {
  static override properties = { wrong: { state: true } };
  declare wrong: boolean;
  readonly #suggestion = suggestRoomName(Math.random);

  constructor() {
    super();
    this.wrong = false;
  }

  protected override firstUpdated(): void {
    this.querySelector<HTMLInputElement>("input")?.select();
  }

  override render(): TemplateResult {
    return html`<main class="door">
      <form class="card home" @submit=${(event: SubmitEvent) => this.#go(event)}>
        <header>
          ${orb("listening", false)}
          <h1>Talk together, with Mulisa</h1>
          <p class="with">
            She is an AI that joins your call, knows who says what, and answers aloud when you ask.
          </p>
        </header>
        <label class="field">
          <span>Room</span>
          <input
            name="room"
            data-testid="room"
            autocomplete="off"
            spellcheck="false"
            maxlength="64"
            enterkeyhint="go"
            value=${this.#suggestion}
            aria-invalid=${this.wrong ? "true" : "false"}
            aria-describedby="room-error"
            @input=${() => (this.wrong = false)}
          />
          <span id="room-error" class="field-error" role="alert"
            >${this.wrong
              ? "A room name has letters, digits, spaces, dots or dashes, and begins with a letter or digit."
              : nothing}</span
          >
        </label>
        <button class="primary" data-testid="go">Go to the room</button>
        <p class="fine">Whoever has the link can come in. No account is needed.</p>
      </form>
    </main>`;
  }

  #go(event: SubmitEvent): void {
    event.preventDefault();
    const room = this.querySelector<HTMLInputElement>("input")?.value.trim() ?? "";
    this.wrong = !isRoomName(room);
    if (!this.wrong) location.assign(roomPath(room));
  }
}

customElements.define("mulisa-home", Home);
