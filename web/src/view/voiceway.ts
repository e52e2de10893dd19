/** The agent's voice on its way, left to right: words, sound, packets, the way, everybody's ears. */

import { html, nothing, svg, type PropertyValues, type SVGTemplateResult, type TemplateResult } from "lit";

import type { Observer } from "../anatomy/observer";
import type { Packet, VoiceReading } from "../anatomy/packets";
import { hueOf, initialsOf } from "../people";
import { agentState, type Person } from "../room";
import { speaksTo } from "../routing";
import type { Visit } from "../visit";
import { bitRate, bytes, count, milliseconds, perSecond } from "./amounts";
import { View, Watch } from "./base";
import { flowAtRate } from "./lanes";
import { sourced } from "./sourced";
import { arrivalWords } from "./words";

/** 48 kHz, 16 bit, mono: what goes into her encoder. */
const PCM_BIT_RATE = 768_000;
/** Packets a second: half of what 20 ms packets of one who speaks are. */
const SPEAKING_RATE = 25;
const LEVELS = 48;
const STRIP = { width: 216, height: 56, packet: 4, gap: 2, labelled: 20, digit: 6.5 } as const;
const STILL_INTERVAL_MS = 1_000;
const STILL = matchMedia("(prefers-reduced-motion: reduce)");

const SOURCE = {
  pcm: "What her voice engine makes, by design: 48,000 samples a second of 16 bits. Nobody measures it here.",
  level: "The loudness of what your browser plays of her, 25 times a second.",
  size: "From getStats of your browser: bytesReceived by packetsReceived between two looks 60 ms apart, so the mean of two or three packets.",
  number: "From getStats of your browser: packetsReceived of her tracks, from the beginning.",
  bytes: "From getStats of your browser: bytesReceived of her tracks, from the beginning; payload alone.",
  ms: "From getStats of your browser: samples taken out of the jitter buffer by packets that came; what most seconds say.",
  rate: "From getStats of your browser: bytesReceived of her tracks over the last second; payload alone.",
  ratio: "The bit rate of the sound before the encoder by that of the packets.",
  packets: "From getStats of your browser: packetsReceived of her tracks over the last second.",
  held: "From getStats of your browser: jitterBufferDelay of her tracks in the last second.",
  sends: "Counted from who is in the room and whom she speaks to.",
} as const;

export class VoiceWay extends View {
  static override properties = { visit: { attribute: false }, observer: { attribute: false } };
  declare visit: Visit;
  declare observer: Observer;
  #levels: readonly number[] = [];
  #renderedAt = -Infinity;

  constructor() {
    super();
    new Watch(this, () => this.visit.room);
    new Watch(this, () => this.visit.room, "reports");
    new Watch(this, () => this.visit.room, "levels", () => this.#hear());
    new Watch(this, () => this.observer, "voice", () => this.#move());
  }

  override render(): TemplateResult {
    const { agent, expected } = this.visit.room;
    if (agent === null) return html`<p class="fine">${expected ?? "An AI"} is not here yet.</p>`;
    const { voice } = this.observer;
    const isFlowing = (voice?.packetRate ?? 0) > 0;
    return html`<ol class="voiceway" data-testid="voiceway" ?data-flowing=${isFlowing}>
      ${this.#words(agent)} ${this.#sound()} ${this.#packets(voice)} ${this.#way(isFlowing, voice)}
      ${this.#ears(agent)}
    </ol>`;
  }

  protected override updated(changed: PropertyValues): void {
    super.updated(changed);
    flowAtRate(this);
  }

  #hear(): void {
    const level = this.visit.room.agent?.voice.level ?? 0;
    this.#levels = [...this.#levels, level].slice(-LEVELS);
  }

  /** With reduced motion the same figures, once a second. */
  #move(): void {
    const now = performance.now();
    if (STILL.matches && now - this.#renderedAt < STILL_INTERVAL_MS) return;
    this.#renderedAt = now;
    this.requestUpdate();
  }

  #words({ participant }: Person): TemplateResult {
    const line = this.visit.room.agentLine(performance.now());
    return stage(
      "Words",
      html`<p class="stage-words" data-testid="stage-words">
        ${line === null ? html`<i>She is ${agentState(participant)}.</i>` : `“${tail(line.text)}”`}
      </p>`,
      html`text, as it is heard`,
    );
  }

  #sound(): TemplateResult {
    const bars = this.#levels.toReversed().map((level, index) => {
      const height = 2 + level * 52;
      return svg`<rect x=${index * 4} y=${28 - height / 2} width="2.5" height=${height} rx="1.2" />`;
    });
    return stage(
      "Sound",
      html`<svg class="wave" viewBox="0 0 ${LEVELS * 4} 56" preserveAspectRatio="none" data-source=${SOURCE.level} aria-hidden="true">
        ${bars}
      </svg>`,
      html`PCM, ${sourced(bitRate(PCM_BIT_RATE), SOURCE.pcm)}`,
    );
  }

  #packets(voice: VoiceReading | null): TemplateResult {
    const packets = voice?.packets ?? [];
    return stage(
      "Opus packets",
      html`${strip(packets)}
        <p class="stage-note">
          ${packets.length === 0 || voice === null
            ? "None came since this panel was opened."
            : html`no. ${sourced(count(voice.count), SOURCE.number)},
              ${sourced(bytes(packets.at(-1)?.bytes ?? 0), SOURCE.size)}
              ${voice.packetMs === null ? nothing : html`of ${sourced(`${voice.packetMs} ms`, SOURCE.ms)}`}`}
        </p>`,
      voice === null || voice.bitRate === 0
        ? html`silent: no packets`
        : html`${sourced(bitRate(voice.bitRate), SOURCE.rate)}${smaller(voice)};
            ${sourced(bytes(voice.bytes), SOURCE.bytes)} so far`,
    );
  }

  #way(isFlowing: boolean, voice: VoiceReading | null): TemplateResult {
    const { topology, room } = this.visit;
    const listeners = room.everybody.filter(({ identity }) => speaksTo(room.routing, identity)).length;
    const copies = topology === "mesh" ? listeners : Math.min(1, listeners);
    const rate = isFlowing ? (voice?.packetRate ?? 0) : 0;
    return stage(
      topology === "mesh" ? "To each person" : "Through the SFU",
      fan(topology === "mesh", Math.max(1, Math.min(room.everybody.length, 6)), rate),
      topology === "mesh"
        ? html`encoded once, sent ${sourced(times(copies), SOURCE.sends)}`
        : html`sent ${sourced(times(copies), SOURCE.sends)}, copied ${sourced(times(listeners), SOURCE.sends)}`,
    );
  }

  #ears(agent: Person): TemplateResult {
    const { room } = this.visit;
    const all = [...(room.local ? [room.local] : []), ...room.people];
    const { voice } = this.observer;
    const held = voice?.heldMs ?? null;
    return stage(
      "Ears",
      html`<ul class="listeners">
        ${all.map((person) => this.#ear(agent, person))}
      </ul>`,
      held === null
        ? html`as each of them reports`
        : html`held ${sourced(milliseconds(held), SOURCE.held)} to play evenly;
            ${sourced(perSecond(voice?.packetRate ?? 0), SOURCE.packets)}`,
    );
  }

  #ear(agent: Person, { participant: { identity }, called }: Person): TemplateResult {
    const { room } = this.visit;
    const isLocal = identity === room.local?.participant.identity;
    const arrives = room.arrives(agent.participant.identity, identity, performance.now());
    const name = isLocal ? "you" : called;
    const allowed = speaksTo(room.routing, identity);
    const words = allowed ? arrivalWords(called, arrives) : `she does not speak to ${name}`;
    return html`<li
      data-hue=${hueOf(identity)}
      data-testid="listener"
      data-identity=${identity}
      data-arriving=${arrives === true ? "true" : "false"}
      data-source="${words}. ${isLocal ? "Counted by your browser." : `As ${called} reports, once a second.`}"
      tabindex="0"
    >
      <span class="chip" aria-hidden="true">${initialsOf(called)}</span>${name}
      <small>${!allowed ? "not spoken to" : arrives === null ? "unknown" : arrives ? "arrives" : "quiet"}</small>
    </li>`;
  }
}

function stage(
  title: string,
  picture: unknown,
  note: TemplateResult,
): TemplateResult {
  return html`<li class="way-stage">
    <h4>${title}</h4>
    <div class="way-picture">${picture}</div>
    <p class="stage-note">${note}</p>
  </li>`;
}

/** What Opus saves; of a voice that pauses it would say nothing. */
function smaller({ bitRate: rate, packetRate }: VoiceReading): TemplateResult | typeof nothing {
  if (packetRate < SPEAKING_RATE) return nothing;
  return html`, ${sourced(`${Math.round(PCM_BIT_RATE / rate)} times smaller`, SOURCE.ratio)}`;
}

/** The newest at the left, where it comes from the encoder; all move on to the right, as sound does. */
function strip(packets: readonly Packet[]): TemplateResult {
  const { width, height, packet, gap, labelled } = STRIP;
  const fit = Math.floor(width / (packet + gap));
  const shown = packets.slice(-fit).reverse();
  const scale = (height - 14) / Math.max(120, ...shown.map((each) => each.bytes));
  const bars = shown.map(({ number, bytes: size }, index) => {
    const tall = Math.max(3, size * scale);
    const x = index * (packet + gap);
    return svg`<rect x=${x} y=${height - 14 - tall} width=${packet} height=${tall} rx="1.5"
      ?data-label=${number % labelled === 0} />
      ${number % labelled === 0 ? label(x, number) : nothing}`;
  });
  return html`<svg
    class="strip"
    viewBox="0 0 ${width} ${height}"
    preserveAspectRatio="xMinYMid"
    role="img"
    aria-label="The last packets, newest first, by size"
    data-testid="strip"
    data-newest=${shown[0]?.number ?? 0}
    data-shown=${shown.length}
    data-source=${SOURCE.size}
  >
    ${bars}
  </svg>`;
}

/** Under its packet, or as far left as it is whole. */
function label(x: number, number: number): SVGTemplateResult {
  const half = (String(number).length * STRIP.digit) / 2;
  return svg`<text x=${Math.max(x + STRIP.packet / 2, half)} y=${STRIP.height - 2}>${number}</text>`;
}

/** One line to each listener, or one to the SFU and from there to each. */
function fan(isMesh: boolean, listeners: number, rate: number): TemplateResult {
  const ends = Array.from({ length: listeners }, (_, index) => 6 + (44 * (index + 0.5)) / listeners);
  const start = isMesh ? "M4 28" : "M62 28";
  const ways = [
    ...(isMesh ? [] : ["M4 28L38 28"]),
    ...ends.map((y) => `${start}C${isMesh ? 50 : 84} 28 ${isMesh ? 50 : 84} ${y} 116 ${y}`),
  ];
  const line = (path: string) => svg`<path class="rail" d=${path} />
    ${rate > 0 ? svg`<path class="dots" d=${path} data-rate=${rate} />` : nothing}`;
  return html`<svg class="fan" viewBox="0 0 120 56" aria-hidden="true">
    ${ways.map(line)}
    ${isMesh ? nothing : svg`<circle cx="50" cy="28" r="12" /><text x="50" y="31">SFU</text>`}
  </svg>`;
}

function times(number: number): string {
  return number === 1 ? "once" : number === 2 ? "twice" : `${number} times`;
}

/** Her last words. */
function tail(text: string): string {
  return text.length > 90 ? `… ${text.slice(-84).replace(/^\S*\s/, "")}` : text;
}

customElements.define("mulisa-voiceway", VoiceWay);
