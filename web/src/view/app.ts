/** Which of the page's four places is shown: home, lobby, room, or what comes after it. */

import { html, nothing, type TemplateResult } from "lit";

import { readName, readTheme, type Theme, writeName, writeTheme } from "../memory";
import type { EndReason, Topology } from "../transport/types";
import { type Instruments, Visit } from "../visit";
import { View, Watch } from "./base";
import "./home";
import { icons } from "./icons";
import "./lobby";
import "./room";
import { endTrouble, type Trouble } from "./words";

const DARK = matchMedia("(prefers-color-scheme: dark)");

/** What the address asks for. */
export interface Request {
  readonly room: string | null;
  readonly name: string;
  readonly join: boolean;
  readonly relayOnly: boolean;
  /** Of the room, if it is not there yet. */
  readonly topology: Topology | null;
}

export class App extends View {
  static override properties = {
    visit: { state: true },
    ended: { state: true },
    lobbyTrouble: { state: true },
    theme: { state: true },
  };
  private request!: Request;
  private instruments!: Instruments;
  declare visit: Visit | null;
  declare ended: EndReason | null;
  declare lobbyTrouble: Trouble | null;
  declare theme: Theme | null;

  constructor() {
    super();
    this.visit = null;
    this.ended = null;
    this.lobbyTrouble = null;
    this.theme = readTheme();
    DARK.addEventListener("change", () => this.requestUpdate());
    new Watch(
      this,
      () => this.visit?.room ?? null,
      "change",
      () => this.#visitChanged(),
    );
  }

  /** Go where the address says; once, before the first rendering. */
  start(request: Request, instruments: Instruments): void {
    this.request = request;
    this.instruments = instruments;
    const { room, join } = request;
    if (room === null) return;
    document.title = `${room} · Mulisa`;
    const name = request.name || readName();
    if (join && name !== "") this.#join(name);
    else void instruments.mic.open();
  }

  override render(): TemplateResult {
    return html`<header class="top">
        <a class="brand" href="/">Mulisa</a>
        ${this.#headline()} ${this.#themeSwitch()}
      </header>
      ${this.#place()}`;
  }

  #place(): TemplateResult {
    const { room } = this.request;
    if (room === null) return html`<mulisa-home></mulisa-home>`;
    if (this.ended !== null) return this.#after(this.ended);
    if (this.visit !== null) {
      return html`<mulisa-room
        .visit=${this.visit}
        @leave-room=${() => this.#leave()}
      ></mulisa-room>`;
    }
    return html`<mulisa-lobby
      .room=${room}
      .topology=${this.request.topology}
      .name=${this.request.name || readName()}
      .mic=${this.instruments.mic}
      .speaker=${this.instruments.speaker}
      .trouble=${this.lobbyTrouble}
      @join-room=${({ detail }: CustomEvent<string>) => this.#join(detail)}
    ></mulisa-lobby>`;
  }

  #headline(): TemplateResult | typeof nothing {
    if (this.visit === null || this.ended !== null) return nothing;
    return html`<h1 class="room-name">${this.visit.room.name}</h1>`;
  }

  #themeSwitch(): TemplateResult {
    const dark = this.#isDark();
    return html`<button
      class="theme"
      aria-label=${dark ? "Use light colours" : "Use dark colours"}
      title=${dark ? "Use light colours" : "Use dark colours"}
      @click=${() => this.#setTheme(dark ? "light" : "dark")}
    >
      ${dark ? icons.light : icons.dark}
    </button>`;
  }

  #after(reason: EndReason): TemplateResult {
    const { what, mend } = endTrouble(reason);
    return html`<main class="door">
      <section class="card after" data-testid="ended">
        <h1>${what}</h1>
        <p class="with">${mend}</p>
        <button class="primary" @click=${() => this.#again()}>
          ${reason === "replaced" ? "Continue here" : "Join again"}
        </button>
        <a class="button" href="/">Choose another room</a>
      </section>
    </main>`;
  }

  #join(name: string): void {
    const { room, relayOnly, topology } = this.request;
    if (room === null) return;
    const { context, mic, speaker } = this.instruments;
    writeName(name);
    this.request = { ...this.request, name };
    this.lobbyTrouble = null;
    this.ended = null;
    void context.resume(); // allowed by the click that brought us here, or held back until one
    if (mic.track === null && !mic.opening) void mic.open();
    mic.setMuted(false);
    this.visit = new Visit({ room, name, relayOnly, topology }, { context, mic, speaker });
    this.visit.join();
  }

  #again(): void {
    this.#join(this.request.name);
  }

  #leave(): void {
    this.visit?.leave();
    this.visit = null;
    this.ended = "left";
  }

  /** Who never came in is told in the lobby, where the mend is; the others at the exit. */
  #visitChanged(): void {
    const { room } = this.visit ?? {};
    const reason = room?.ended ?? null;
    if (reason === null) return;
    const cameIn = room?.local !== null;
    this.visit = null;
    if (cameIn) {
      this.ended = reason;
    } else {
      // A full room is told by the lobby itself, with its limit, for as long as it is true.
      this.lobbyTrouble = reason === "full" ? null : endTrouble(reason);
      void this.instruments.mic.open();
    }
  }

  #isDark(): boolean {
    if (this.theme !== null) return this.theme === "dark";
    return DARK.matches;
  }

  #setTheme(theme: Theme): void {
    this.theme = theme;
    writeTheme(theme);
    showTheme(theme);
  }
}

/** The person's choice over the system's; null follows the system. */
export function showTheme(theme: Theme | null): void {
  if (theme === null) delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

customElements.define("mulisa-app", App);
