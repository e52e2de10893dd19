/** One participant: a person's initials, or Mulisa's orb with what she does and says. */

import { html, nothing, type TemplateResult } from "lit";

import { routingNote } from "../hearing";
import { hueOf, initialsOf, listed } from "../people";
import { agentState, type Line, type Person, type Room } from "../room";
import { hears } from "../routing";
import type { Switchboard } from "../switchboard";
import type { Topology } from "../transport/types";
import { Every, View, Watch } from "./base";
import { icons } from "./icons";
import { orb } from "./orb";
import "./quality";
import { connectionNote, qualityWords, whisperWords } from "./words";

export class Tile extends View {
  static override properties = {
    room: { attribute: false },
    person: { attribute: false },
    switchboard: { attribute: false },
    topology: { attribute: false },
  };
  declare room: Room;
  declare person: Person;
  declare switchboard: Switchboard;
  declare topology: Topology;

  constructor() {
    super();
    new Every(this, 1000); // her sentence grows old
    new Watch(this, () => this.room);
    new Watch(this, () => this.room, "qualities");
    new Watch(this, () => this.switchboard);
    new Watch(
      this,
      () => this.room,
      "levels",
      () => this.style.setProperty("--level", this.person.voice.level.toFixed(3)),
    );
  }

  override render(): TemplateResult {
    const { participant, voice } = this.person;
    const isAgent = participant.kind === "agent";
    const isLocal = this.person === this.room.local;
    return html`<article
      class=${isAgent ? "tile tile-agent" : isLocal ? "tile tile-own" : "tile"}
      data-hue=${hueOf(participant.identity)}
      data-testid="participant"
      data-identity=${participant.identity}
      data-name=${participant.name}
      data-speaking=${voice.speaking ? "true" : "false"}
      data-connection=${isLocal ? nothing : this.person.connection}
    >
      ${isAgent ? this.#agent() : this.#someone(isLocal)}
    </article>`;
  }

  #someone(isLocal: boolean): TemplateResult {
    const { called } = this.person;
    return html`<div class="face">
        <span class="ring"></span><span class="initials">${initialsOf(called)}</span>
        ${isLocal ? nothing : this.#quality()}
      </div>
      <h3>${called}${isLocal ? html` <small>you</small>` : nothing}</h3>
      ${this.#notes(isLocal)} ${isLocal ? this.#ears() : nothing}`;
  }

  /** That Mulisa leaves somebody out stands longer than anything else, so it stands alone. */
  #notes(isLocal: boolean): TemplateResult {
    const note = this.#note(isLocal);
    const { agent, routing } = this.room;
    const { identity } = this.person.participant;
    const called = isLocal ? "you" : this.person.called;
    const leftOut = agent && routingNote(agent.participant.name, routing, { identity, called });
    if (!leftOut) return html`<p class="note">${note ?? this.#speaking()}</p>`;
    return html`${note === null ? nothing : html`<p class="note">${note}</p>`}
      <p class="routing-note" data-testid="routing-note">${leftOut}</p>`;
  }

  #note(isLocal: boolean): TemplateResult | string | null {
    if (!isLocal) {
      const words = connectionNote(this.person, performance.now());
      if (words !== null) return html`${icons.broken} ${words}`;
    }
    if (this.person.participant.muted) return html`${icons.micOff} muted`;
    return this.person.voice.speaking ? null : this.#weakness();
  }

  /** Said only where there is something to say; who speaks is heard. */
  #weakness(): string | null {
    const level = this.room.quality(this.person.participant.identity)?.level ?? "good";
    return level === "good" ? null : qualityWords(level).toLowerCase();
  }

  #quality(): TemplateResult {
    return html`<mulisa-quality
      .room=${this.room}
      .person=${this.person}
      .topology=${this.topology}
    ></mulisa-quality>`;
  }

  #speaking(): string | typeof nothing {
    return this.person.voice.speaking ? "speaking" : nothing;
  }

  /** One takes oneself off Mulisa's ears here, the quickest way. */
  #ears(): TemplateResult | typeof nothing {
    const agent = this.room.agent?.participant.name;
    if (agent === undefined) return nothing;
    const { identity } = this.person.participant;
    const heard = hears(this.room.routing, identity);
    const changing = this.switchboard.isChanging({ type: "hear", identity });
    const label = heard ? `Take me off ${agent}'s ears` : `Let ${agent} hear me`;
    return html`<button
      class="ears"
      data-testid="ears"
      aria-label=${label}
      aria-busy=${changing ? "true" : "false"}
      title=${label}
      @click=${() => this.switchboard.wish({ type: "hear", identity, on: !heard }, "tile")}
    >
      ${heard ? icons.ear : icons.earOff}<span>${changing ? "Changing" : label}</span>
    </button>`;
  }

  #agent(): TemplateResult {
    const { participant } = this.person;
    const state = agentState(participant);
    const words = connectionNote(this.person, performance.now()) ?? this.#weakness();
    const talking = this.#talking();
    const holding = state !== "speaking" && talking.length > 0;
    return html`${orb(state, holding)}
      <div class="agent-words">
        <h3>
          ${participant.name}
          <span class="badge" title="An AI: she listens and speaks">AI, listens</span>
        </h3>
        <p class="state">
          <span class="state-dot" data-state=${state}></span
          ><span data-testid="agent-state">${state}</span
          >${holding && state === "listening" ? html`<span> to ${listed(talking)}</span>` : nothing}
          ${words === null ? nothing : html`<span class="note">${words}</span>`}
          ${this.#quality()}
        </p>
        ${this.#sentence()}
      </div>`;
  }

  #sentence(): TemplateResult {
    const line = this.room.agentLine(performance.now());
    if (line === null) return html`<p class="sentence"></p>`;
    const unspoken = line.interrupted ? html` <s>${line.unspoken}</s>` : nothing;
    return html`<p class="sentence"><span>${this.#whisper(line)}${line.text}${unspoken}</span></p>`;
  }

  #whisper({ listener }: Line): TemplateResult | typeof nothing {
    if (listener === null) return nothing;
    const you = this.room.local?.participant.identity;
    return html`<small class="whisper">${icons.lock}${whisperWords(listener, you)}</small> `;
  }

  #talking(): string[] {
    const { local, people } = this.room;
    return [local, ...people]
      .filter((person) => person?.voice.speaking === true)
      .map((person) => (person === local ? "you" : (person?.called ?? "")));
  }
}

customElements.define("mulisa-tile", Tile);
