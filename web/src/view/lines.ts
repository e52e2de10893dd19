/** A list that follows its newest line until the reader scrolls up. */

import { html, nothing, type TemplateResult } from "lit";
import { repeat } from "lit/directives/repeat.js";

import { hueOf } from "../people";
import type { Line, Room } from "../room";
import { View, Watch } from "./base";
import { icons } from "./icons";
import { whisperWords } from "./words";

const NEAR_THE_END_PX = 32;

export abstract class Lines extends View {
  static override properties = {
    room: { attribute: false },
    following: { state: true },
  };
  declare room: Room;
  declare following: boolean;
  /** A list that grows or shrinks, or was hidden, stays at its end. */
  readonly #resizes = new ResizeObserver(() => {
    if (this.following) this.#toTheEnd();
  });

  constructor() {
    super();
    this.following = true;
    new Watch(this, () => this.room);
  }

  protected abstract lines(): readonly Line[];
  protected abstract line(line: Line): TemplateResult;
  protected abstract empty(): TemplateResult;
  protected abstract list(lines: unknown, scrolled: () => void): TemplateResult;

  override render(): TemplateResult {
    const lines = this.lines();
    const items =
      lines.length === 0
        ? html`<li class="empty">${this.empty()}</li>`
        : repeat(
            lines,
            ({ kind, identity, id }) => `${kind} ${identity} ${id}`,
            (line) => this.line(line),
          );
    return html`${this.list(items, () => this.#scrolled())}
    ${this.following
      ? nothing
      : html`<button class="latest" @click=${() => this.#follow()}>${icons.down} Latest</button>`}`;
  }

  protected override updated(): void {
    if (this.following) this.#toTheEnd();
  }

  protected override firstUpdated(): void {
    const list = this.querySelector("ol");
    if (list !== null) this.#resizes.observe(list);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#resizes.disconnect();
  }

  /** A lock and for whom alone a line is; nothing for what everybody may know. */
  protected whisper({ listener }: Line): TemplateResult | typeof nothing {
    if (listener === null) return nothing;
    const you = this.room.local?.participant.identity;
    return html`<small class="whisper">${icons.lock}${whisperWords(listener, you)}</small> `;
  }

  #scrolled(): void {
    const list = this.querySelector("ol");
    if (list === null || list.clientHeight === 0) return; // hidden
    const below = list.scrollHeight - list.scrollTop - list.clientHeight;
    this.following = below < NEAR_THE_END_PX;
  }

  #follow(): void {
    this.following = true;
    this.#toTheEnd();
  }

  #toTheEnd(): void {
    const list = this.querySelector("ol");
    if (list !== null) list.scrollTop = list.scrollHeight;
  }
}

/** Time in the margin, name in its hue, then the words. */
export function spokenLine({ at, identity, called, isAgent }: Line): {
  time: string;
  who: TemplateResult;
} {
  const wall = new Date(performance.timeOrigin + at);
  const time = wall.toLocaleTimeString([], {
    hour: "2-digit",
    minute: "2-digit",
    hourCycle: "h23",
  });
  const className = isAgent ? "who who-agent" : "who";
  return { time, who: html`<b class=${className} data-hue=${hueOf(identity)}>${called}</b>` };
}
