/** A number that can be pointed at for where it comes from, and the line that says it. */

import { html, type TemplateResult } from "lit";

import { View } from "./base";

/** What a number means and where it is from; whoever holds it in a `mulisa-sources` tells it. */
export function sourced(value: string, source: string): TemplateResult {
  return html`<button class="sourced" data-source=${source} data-testid="sourced">${value}</button>`;
}

/** Stands at the end of what has numbers, and says where the one pointed at or focused is from. */
export class Sources extends View {
  static override properties = { source: { state: true } };
  declare source: string;
  #listening: AbortController | null = null;

  constructor() {
    super();
    this.source = "";
  }

  override connectedCallback(): void {
    super.connectedCallback();
    this.#listening = new AbortController();
    const { signal } = this.#listening;
    for (const type of ["pointerover", "focusin", "click"]) {
      this.parentElement?.addEventListener(type, ({ target }) => this.#point(target), { signal });
    }
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#listening?.abort();
  }

  override render(): TemplateResult {
    const words = this.source || "Point at a number, and this line says where it comes from.";
    return html`<p class="sources fine" role="status" data-testid="source">${words}</p>`;
  }

  #point(target: EventTarget | null): void {
    if (!(target instanceof Element)) return;
    const { source } = target.closest<HTMLElement>("[data-source]")?.dataset ?? {};
    if (source !== undefined) this.source = source;
  }
}

customElements.define("mulisa-sources", Sources);
