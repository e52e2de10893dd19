/** Before the room: who is there, your name, your microphone, one button. */

import { html, nothing, type TemplateResult } from "lit";

import { type Agent, readRoom, Refusal, requestToken } from "../api";
import { readToken } from "../memory";
import type { Microphone } from "../mic";
import { listed } from "../people";
import type { Speaker } from "../speaker";
import type { Topology } from "../transport/types";
import { View, Watch } from "./base";
import "./devices";
import { icons } from "./icons";
import { fullTrouble, micTrouble, type Trouble } from "./words";

const LOOK_INTERVAL_MS = 4_000;
/** Who only looks in needs a token, but not yet a name. */
const NAMELESS = "Guest";

export class Lobby extends View {
  static override properties = {
    room: { attribute: false },
    topology: { attribute: false },
    name: { attribute: false },
    mic: { attribute: false },
    speaker: { attribute: false },
    /** Why a former try to enter ended here. */
    trouble: { attribute: false },
    present: { state: true },
    agent: { state: true },
    refusal: { state: true },
    hasPlaceAgain: { state: true },
    nameMissing: { state: true },
  };
  declare room: string;
  /** Of the room, if it is not there yet. */
  declare topology: Topology | null;
  declare name: string;
  declare mic: Microphone;
  declare speaker: Speaker;
  declare trouble: Trouble | null;
  declare present: readonly string[] | null;
  declare agent: Agent | null;
  /** Why we may not look in now. */
  declare refusal: Refusal | null;
  /** It was full when we came. */
  declare hasPlaceAgain: boolean;
  declare nameMissing: boolean;
  #token: string | null = null;
  /** Who joins as an AI once somebody is there. */
  #expected: Agent | null = null;
  #looking: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    super();
    this.topology = null;
    this.trouble = null;
    this.present = null;
    this.agent = null;
    this.refusal = null;
    this.hasPlaceAgain = false;
    this.nameMissing = false;
    new Watch(this, () => this.mic);
  }

  override connectedCallback(): void {
    super.connectedCallback();
    void this.#look();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    clearTimeout(this.#looking);
  }

  protected override firstUpdated(): void {
    this.querySelector<HTMLInputElement>("[data-testid=name]")?.focus();
  }

  override render(): TemplateResult {
    return html`<main class="door">
      <form class="card lobby" @submit=${(event: SubmitEvent) => this.#submit(event)}>
        <header>
          <p class="over">You are about to join</p>
          <h1>${this.room}</h1>
          <p class="with">${this.#withWhom()}</p>
        </header>
        ${this.#trouble()}
        <label class="field">
          <span>Your name</span>
          <input
            data-testid="name"
            name="name"
            autocomplete="nickname"
            maxlength="64"
            enterkeyhint="go"
            aria-invalid=${this.nameMissing ? "true" : "false"}
            aria-describedby="name-error"
            .value=${this.name}
            @input=${() => (this.nameMissing = false)}
          />
          <span id="name-error" class="field-error" role="alert"
            >${this.nameMissing ? "Say who you are, so that others know." : nothing}</span
          >
        </label>
        ${this.#microphone()}
        <button class="primary" data-testid="join">
          ${this.#joinWords()}
        </button>
        ${this.#words()}
      </form>
    </main>`;
  }

  #withWhom(): TemplateResult | string {
    const reason = this.refusal?.reason;
    if (reason === "away") return "The server does not answer. Still trying.";
    if (reason === "full") return "";
    if (reason === "refused") return "";
    if (this.present === null) return "Looking who is there";
    const ai = this.agent === null ? [] : [`${this.agent.name} (AI, listens and speaks)`];
    const everybody = [...this.present, ...ai];
    if (everybody.length === 0) return "Nobody is here yet.";
    return html`You will talk with: <strong>${listed(everybody)}</strong>`;
  }

  #trouble(): TemplateResult | typeof nothing {
    const { refusal } = this;
    const trouble = refusal?.reason === "full" ? fullTrouble(refusal.message) : this.trouble;
    if (this.hasPlaceAgain) {
      return html`<p class="notice" role="status" data-testid="place-free">
        ${icons.check} <span>There is a place for you now.</span>
      </p>`;
    }
    if (trouble === null) return nothing;
    return html`<div class="notice notice-warning" role="alert" data-testid="lobby-trouble">
      ${icons.warning}
      <p><strong>${trouble.what}</strong> ${trouble.mend}</p>
    </div>`;
  }

  #joinWords(): string {
    if (this.refusal?.reason === "full") return "Try again";
    return this.mic.problem === null ? "Join" : "Join to listen and write";
  }

  #microphone(): TemplateResult {
    const { problem } = this.mic;
    if (problem === null) {
      return html`<mulisa-devices .mic=${this.mic} .speaker=${this.speaker}></mulisa-devices>`;
    }
    const { what, mend } = micTrouble(problem);
    return html`<div class="notice notice-warning" data-testid="mic-problem" role="alert">
      ${icons.warning}
      <p><strong>${what}</strong> ${mend}</p>
      ${
        problem === "insecure"
          ? nothing // trying again does not change the address
          : html`<button type="button" @click=${() => void this.mic.open()}>Try again</button>`
      }
    </div>`;
  }

  #words(): TemplateResult {
    if (this.agent === null && this.present !== null) {
      return html`<p class="fine">No AI is in this room, and nothing is written down.</p>`;
    }
    const name = this.agent?.name ?? "Mulisa";
    return html`<details class="fine">
      <summary>${name} listens, turns what you say into text, and keeps it as a transcript.</summary>
      <ul>
        <li>Your voice goes straight from your browser to the people in the room and to ${name}.</li>
        <li>
          She turns it into text and answers where the host of this room decided: on their own
          machine unless they chose a provider.
        </li>
        <li>
          Sound is not kept. The text is, on the host's machine; everybody in the room can read it
          and the host can delete it.
        </li>
      </ul>
    </details>`;
  }

  async #look(): Promise<void> {
    try {
      await this.#lookOnce();
      this.hasPlaceAgain ||= this.refusal?.reason === "full";
      this.refusal = null;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.refusal = error;
      this.hasPlaceAgain = false;
      if (error.reason !== "away") this.#token = null;
    }
    if (this.isConnected) this.#looking = setTimeout(() => void this.#look(), LOOK_INTERVAL_MS);
  }

  async #lookOnce(): Promise<void> {
    if (this.#token === null) {
      const name = this.name || NAMELESS;
      const admission = await requestToken(this.room, name, readToken(this.room), this.topology);
      this.#token = admission.token;
      this.#expected = admission.agent;
    }
    const state = await readRoom(this.room, this.#token);
    const present = state?.participants ?? [];
    this.present = present.filter(({ kind }) => kind !== "agent").map(({ name }) => name);
    this.agent = present.find(({ kind }) => kind === "agent") ?? this.#expected;
  }

  #submit(event: SubmitEvent): void {
    event.preventDefault();
    const input = this.querySelector<HTMLInputElement>("[data-testid=name]");
    const name = input?.value.trim().replace(/\s+/g, " ") ?? "";
    this.nameMissing = name === "";
    if (this.nameMissing) input?.focus();
    else this.dispatchEvent(new CustomEvent("join-room", { detail: name, bubbles: true }));
  }
}

customElements.define("mulisa-lobby", Lobby);
