/** What everybody says, as a play; typed messages stand in it where they were sent. */

import { html, nothing, type TemplateResult } from "lit";

import { isTyped, type Line } from "../room";
import { Lines, spokenLine } from "./lines";

export class Captions extends Lines {
  /** The agent captions what is typed, too: such a message is shown once, as a caption. */
  protected override lines(): readonly Line[] {
    const { lines } = this.room;
    const captions = lines.filter(({ kind }) => kind === "caption");
    const captioned = new Set(captions.map(({ id }) => id));
    return lines.filter(({ kind, id }) => kind === "caption" || !captioned.has(id));
  }

  protected override list(lines: unknown, scrolled: () => void): TemplateResult {
    return html`<ol
      class="lines"
      data-testid="captions"
      aria-label="Captions"
      tabindex="0"
      @scroll=${scrolled}
    >
      ${lines}
    </ol>`;
  }

  protected override empty(): TemplateResult {
    const agent = this.room.agent?.participant.name;
    if (agent !== undefined) {
      return html`What you all say appears here. Try “${agent}, what can you do?”`;
    }
    const { expected } = this.room;
    if (expected === null) return html`Nobody writes captions in this room.`;
    return html`What you all say appears here once ${expected} has come.`;
  }

  protected override line(line: Line): TemplateResult {
    const { time, who } = spokenLine(line);
    if (line.kind === "chat") {
      return html`<li class="line line-chat">
        <time>${time}</time>
        <p>${who} <small>writes</small> ${this.whisper(line)}${line.text}</p>
      </li>`;
    }
    return html`<li
      class="line"
      data-testid="caption"
      data-name=${line.name}
      data-final=${line.final ? "true" : "false"}
      data-listener=${line.listener?.identity ?? nothing}
    >
      <time>${time}</time>
      <p>
        ${who} ${isTyped(line) ? html`<small>writes</small> ` : nothing}${this.whisper(
          line,
        )}<span class="words"
          >${line.text}</span
        >${line.interrupted
          ? html` <s title="Cut off, so nobody heard this">${line.unspoken}</s>`
          : nothing}
      </p>
    </li>`;
  }
}

customElements.define("mulisa-captions", Captions);
