/** Typed messages alone. */

import { html, type TemplateResult } from "lit";

import type { Line } from "../room";
import { Lines, spokenLine } from "./lines";

export class Chat extends Lines {
  protected override lines(): readonly Line[] {
    return this.room.lines.filter(({ kind }) => kind === "chat");
  }

  protected override list(lines: unknown, scrolled: () => void): TemplateResult {
    return html`<ol
      class="lines"
      role="log"
      aria-label="Typed messages"
      tabindex="0"
      @scroll=${scrolled}
    >
      ${lines}
    </ol>`;
  }

  protected override empty(): TemplateResult {
    return html`Nothing written yet. Everybody in the room can read what you write.`;
  }

  protected override line(line: Line): TemplateResult {
    const { time, who } = spokenLine(line);
    return html`<li class="line">
      <time>${time}</time>
      <p>${who} ${this.whisper(line)}<span class="words">${line.text}</span></p>
    </li>`;
  }
}

customElements.define("mulisa-chat", Chat);
