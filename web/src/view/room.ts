/** The room: people and Mulisa in the middle, what is said beside them, one's own bar below. */

import { html, nothing, type PropertyValues, type TemplateResult } from "lit";
import { repeat } from "lit/directives/repeat.js";

import { readToken } from "../memory";
import { listed } from "../people";
import type { Person } from "../room";
import { requestRouting } from "../routing";
import { Switchboard } from "../switchboard";
import { MAX_CHAT_CHARS } from "../transport/text";
import { engineTrouble, troubleWords } from "../trouble";
import type { Visit } from "../visit";
import "./anatomy";
import { Bar } from "./bar";
import { Every, View, Watch } from "./base";
import "./captions";
import "./chat";
import { icons } from "./icons";
import { Keys } from "./keys";
import { routingFailure, RoutingView } from "./routing";
import "./tile";
import { micTrouble } from "./words";

/** How long what happened to a device is told. */
const NEWS_MS = 15_000;

/** What the bar opens in place of what is said. */
type Extra = "routing" | "anatomy";
type Tab = "captions" | "chat" | Extra;

/** How the panel is shown. */
interface Look {
  readonly tab: Tab;
  readonly panelOpen: boolean;
  readonly sheetFull: boolean;
}

export class RoomView extends View {
  static override properties = {
    visit: { attribute: false },
    tab: { state: true },
    panelOpen: { state: true },
    sheetFull: { state: true },
  };
  declare visit: Visit;
  declare tab: Tab;
  declare panelOpen: boolean;
  declare sheetFull: boolean;
  declare switchboard: Switchboard;
  #keys: AbortController | null = null;
  /** Where mouse or finger went down last; nowhere since somebody moved on by keyboard. */
  #pointedAt: EventTarget | null = null;
  /** How the panel looked before the bar opened something in it. */
  #before: Look = { tab: "captions", panelOpen: true, sheetFull: false };

  constructor() {
    super();
    this.tab = "captions";
    this.panelOpen = true;
    this.sheetFull = false;
    new Every(this, 1000); // times that count
    new Watch(this, () => this.visit.room);
    new Watch(this, () => this.visit.mic);
    new Watch(this, () => this.visit.speaker);
    new Watch(this, () => this.switchboard);
  }

  override connectedCallback(): void {
    super.connectedCallback();
    this.#keys = new AbortController();
    const { signal } = this.#keys;
    window.addEventListener("keydown", (event) => this.#keyDown(event), { signal });
    window.addEventListener("keyup", (event) => this.#keyUp(event), { signal });
    window.addEventListener("blur", () => this.#bar?.release(), { signal });
    document.addEventListener("visibilitychange", () => this.#bar?.release(), { signal });
    window.addEventListener("pointerdown", ({ target }) => (this.#pointedAt = target), {
      signal,
      capture: true,
    });
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#keys?.abort();
  }

  protected override willUpdate(changed: PropertyValues<this>): void {
    if (!changed.has("visit")) return;
    const { room } = this.visit;
    this.switchboard = new Switchboard(room, (change) =>
      requestRouting(room.name, readToken(room.name), change),
    );
  }

  override render(): TemplateResult {
    const { room } = this.visit;
    return html`<div
      class="room"
      ?data-panel=${this.panelOpen}
      ?data-sheet=${this.sheetFull && this.panelOpen}
      ?data-anatomy=${this.#shows("anatomy")}
    >
      <main class="stage">
        <div class="notices">
          <div class="engine-trouble" data-testid="engine-trouble" role="status">${this.#engineTrouble()}</div>
          ${this.#soundBlocked()} ${this.#noMicrophone()} ${this.#news()} ${this.#trouble()}
          ${routingFailure(this.switchboard, "tile")}
        </div>
        ${room.local === null ? html`<p class="joining">Joining ${room.name}…</p>` : this.#tiles()}
      </main>
      ${this.#panel()}
      <mulisa-bar
        .visit=${this.visit}
        .routing=${this.#shows("routing")}
        .anatomy=${this.#shows("anatomy")}
        @show-keys=${() => this.#keyList?.toggle()}
        @toggle-routing=${() => this.#toggle("routing")}
        @toggle-anatomy=${() => this.#toggle("anatomy")}
      ></mulisa-bar>
      <mulisa-keys></mulisa-keys>
      <p class="unseen" role="status" aria-live="polite">${room.announcement}</p>
    </div>`;
  }

  #tiles(): TemplateResult {
    const { agent, people, local, expected } = this.visit.room;
    const everybody = local === null ? people : [local, ...people];
    return html`${agent === null ? nothing : this.#tile(agent)}
      <div class="people" data-count=${everybody.length}>
        ${repeat(
          everybody,
          ({ participant }) => participant.identity,
          (person) => this.#tile(person),
        )}
      </div>
      ${everybody.length === 1
        ? html`<p class="alone">
            ${agent !== null
              ? `It is just you and ${agent.participant.name}.`
              : expected === null
                ? "Nobody else is here yet."
                : `${expected} is on her way.`}
            Copy the link to bring somebody in.
          </p>`
        : nothing}`;
  }

  #tile(person: Person): TemplateResult {
    return html`<mulisa-tile
      .room=${this.visit.room}
      .person=${person}
      .switchboard=${this.switchboard}
      .topology=${this.visit.topology}
    ></mulisa-tile>`;
  }

  #soundBlocked(): TemplateResult | typeof nothing {
    if (!this.visit.speaker.blocked) return nothing;
    return html`<button class="notice notice-sound" data-testid="unblock">
      ${icons.sound} Click to hear everybody
    </button>`;
  }

  #noMicrophone(): TemplateResult | typeof nothing {
    const { problem } = this.visit.mic;
    if (problem === null) return nothing;
    const { what, mend } = micTrouble(problem);
    return html`<div class="notice notice-warning" data-testid="mic-problem" role="status">
      ${icons.warning}
      <p>
        <strong>${what}</strong> You hear everybody and can write; nobody hears you. ${mend}
      </p>
      <button @click=${() => void this.visit.mic.open()}>Try again</button>
    </div>`;
  }

  /** A device that was pulled out, and what is used instead. */
  #news(): (TemplateResult | typeof nothing)[] {
    return [this.visit.mic, this.visit.speaker].map(({ news }) => {
      if (news === null || performance.now() - news.at > NEWS_MS) return nothing;
      return html`<p class="notice" data-testid="device-news" role="status">
        ${icons.devices} <span>${news.text}</span>
      </p>`;
    });
  }

  #trouble(): TemplateResult | typeof nothing {
    const trouble = this.visit.room.trouble(performance.now());
    if (trouble === null) return nothing;
    return html`<p class="notice notice-warning" data-testid="trouble">
      ${icons.warning} <span>${trouble}</span>
    </p>`;
  }

  /** It goes on without them, or not: no alarm, and it stands until it is over. */
  #engineTrouble(): TemplateResult | typeof nothing {
    const { agent } = this.visit.room;
    const trouble = engineTrouble(agent?.participant);
    if (agent === null || trouble === null) return nothing;
    const [what, meanwhile] = troubleWords(trouble, agent.participant.name);
    return html`<p class="notice">
      ${icons.broken} <span>${what} <span class="meanwhile">${meanwhile}</span></span>
    </p>`;
  }

  #panel(): TemplateResult {
    const { room } = this.visit;
    return html`<aside
      class="panel"
      data-tab=${this.tab}
      ?hidden=${!this.panelOpen}
      aria-label="What is said, and who hears it"
    >
      ${this.tab === "anatomy" ? this.#anatomyHead() : nothing}
      <div class="tabs" role="tablist" ?hidden=${this.tab === "anatomy"}>
        ${this.#tabButton("captions", "Captions")} ${this.#tabButton("chat", "Chat")}
        ${this.#tabButton("routing", "Who hears whom")}
        <button
          class="sheet-button"
          aria-label=${this.sheetFull ? "Make smaller" : "Make larger"}
          @click=${() => (this.sheetFull = !this.sheetFull)}
        >
          ${this.sheetFull ? icons.down : icons.up}
        </button>
      </div>
      <div
        id="panel-captions"
        class="tab"
        role="tabpanel"
        aria-labelledby="tab-captions"
        ?hidden=${this.tab !== "captions"}
      >
        <mulisa-captions .room=${room}></mulisa-captions>
      </div>
      <div
        id="panel-chat"
        class="tab"
        role="tabpanel"
        aria-labelledby="tab-chat"
        ?hidden=${this.tab !== "chat"}
      >
        <mulisa-chat .room=${room}></mulisa-chat>
      </div>
      <div
        id="panel-routing"
        class="tab"
        role="tabpanel"
        aria-labelledby="tab-routing"
        ?hidden=${this.tab !== "routing"}
      >
        ${this.tab === "routing"
          ? html`<mulisa-routing
              .room=${room}
              .switchboard=${this.switchboard}
            ></mulisa-routing>`
          : nothing}
      </div>
      <div id="panel-anatomy" class="tab" ?hidden=${this.tab !== "anatomy"}>
        ${this.tab === "anatomy" && this.panelOpen
          ? html`<mulisa-anatomy
              .visit=${this.visit}
              .switchboard=${this.switchboard}
            ></mulisa-anatomy>`
          : nothing}
      </div>
      ${this.#chatForm()}
    </aside>`;
  }

  #anatomyHead(): TemplateResult {
    return html`<header class="anatomy-head">
      <h2 id="anatomy-title" tabindex="-1">How this call works</h2>
      <button aria-label="Close" title="Close (H)" @click=${() => this.#toggle("anatomy")}>
        ${icons.close}
      </button>
    </header>`;
  }

  #tabButton(tab: Tab, label: string): TemplateResult {
    return html`<button
      id="tab-${tab}"
      role="tab"
      aria-selected=${this.tab === tab ? "true" : "false"}
      aria-controls="panel-${tab}"
      @click=${() => (this.tab = tab)}
    >
      ${label}
    </button>`;
  }

  #chatForm(): TemplateResult {
    const { people, agent } = this.visit.room;
    const readers = [...people, ...(agent === null ? [] : [agent])].map((p) => p.called);
    const hint = readers.length > 0 && readers.length < 4 ? listed(readers) : "everybody";
    return html`<form class="chat-form" @submit=${(event: SubmitEvent) => this.#send(event)}>
      <input
        data-testid="chat-input"
        name="text"
        autocomplete="off"
        enterkeyhint="send"
        maxlength=${MAX_CHAT_CHARS}
        aria-label="Write to everybody"
        placeholder="Write to ${hint}"
      />
      <button aria-label="Send" title="Send">${icons.send}</button>
    </form>`;
  }

  #send(event: SubmitEvent): void {
    event.preventDefault();
    const input = this.querySelector<HTMLInputElement>("[data-testid=chat-input]");
    if (input === null) return;
    this.visit.sendChat(input.value);
    input.value = "";
  }

  #keyDown(event: KeyboardEvent): void {
    if (event.key === "Tab") this.#pointedAt = null;
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (event.key === " ") {
      if (this.#isPressed(event.target)) return;
      event.preventDefault();
      this.#bar?.hold();
    } else if (!event.repeat) {
      this.#shortcut(event.key.toLowerCase());
    }
  }

  #keyUp(event: KeyboardEvent): void {
    if (event.key !== " ") return;
    // Firefox presses a button when the key comes up.
    if (!isTyping(event.target) && !this.#isPressed(event.target)) event.preventDefault();
    this.#bar?.release();
  }

  /**
   * The space bar is for talking, also where a click has left the focus; who goes from control to
   * control by keyboard presses them with it.
   */
  #isPressed(target: EventTarget | null): boolean {
    const control = controlOf(target);
    if (control === null || this.#bar?.holding === true) return false;
    return control !== controlOf(this.#pointedAt) || control.closest("dialog") !== null;
  }

  #shortcut(key: string): void {
    if (key === "m") this.#bar?.toggleMuted();
    if (key === "c") this.#toggleCaptions();
    if (key === "r") void this.#routeByKey();
    if (key === "h") void this.#explainByKey();
    if (key === "escape" && isExtra(this.tab) && this.#shows(this.tab)) this.#toggle(this.tab);
    if (key === "?") this.#keyList?.toggle();
  }

  #toggleCaptions(): void {
    this.panelOpen = !(this.panelOpen && this.tab === "captions");
    this.tab = "captions";
  }

  #shows(tab: Tab): boolean {
    return this.panelOpen && this.tab === tab;
  }

  /** Show it as large as there is room for, or what was shown before. */
  #toggle(extra: Extra): void {
    const { tab, panelOpen, sheetFull } = this;
    if (this.#shows(extra)) {
      const panel = this.querySelector(".panel");
      if (panel?.contains(document.activeElement) === true) this.#bar?.focusOn(extra);
      Object.assign(this, this.#before);
      return;
    }
    if (!isExtra(tab)) this.#before = { tab, panelOpen, sheetFull };
    Object.assign(this, { tab: extra, panelOpen: true, sheetFull: true } satisfies Look);
  }

  async #routeByKey(): Promise<void> {
    this.#toggle("routing");
    if (!this.#shows("routing")) return;
    await this.updateComplete;
    const view = this.querySelector<RoutingView>("mulisa-routing");
    await view?.updateComplete;
    view?.focusFirst();
  }

  async #explainByKey(): Promise<void> {
    this.#toggle("anatomy");
    if (!this.#shows("anatomy")) return;
    await this.updateComplete;
    this.querySelector<HTMLElement>("#anatomy-title")?.focus();
  }

  get #bar(): Bar | null {
    return this.querySelector<Bar>("mulisa-bar");
  }

  get #keyList(): Keys | null {
    return this.querySelector<Keys>("mulisa-keys");
  }
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.matches("input, textarea, select");
}

function isExtra(tab: Tab): tab is Extra {
  return tab === "routing" || tab === "anatomy";
}

function controlOf(target: EventTarget | null): Element | null {
  return target instanceof Element ? target.closest("button, a, summary, dialog") : null;
}

customElements.define("mulisa-room", RoomView);
