/** The list of keys. */

import { html, type TemplateResult } from "lit";

import { View } from "./base";

const KEYS: readonly (readonly [string, string])[] = [
  ["Space", "talk while held, when you are muted"],
  ["M", "mute or unmute"],
  ["C", "show or hide captions"],
  ["R", "show or hide who hears whom"],
  ["H", "show or hide how this call works"],
  ["Esc", "close what is open"],
  ["?", "this list"],
];

export class Keys extends View {
  override render(): TemplateResult {
    return html`<dialog class="keys" aria-labelledby="keys-title">
      <h2 id="keys-title">Keys</h2>
      <dl>
        ${KEYS.map(
          ([key, what]) =>
            html`<div>
              <dt><kbd>${key}</kbd></dt>
              <dd>${what}</dd>
            </div>`,
        )}
      </dl>
      <form method="dialog"><button>Close</button></form>
    </dialog>`;
  }

  toggle(): void {
    const dialog = this.querySelector("dialog");
    if (dialog?.open === true) dialog.close();
    else dialog?.showModal();
  }
}

customElements.define("mulisa-keys", Keys);
