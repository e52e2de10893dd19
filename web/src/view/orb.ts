/** Mulisa's face: a soft orb whose four states differ in shape, not only in movement. */

import { html, type TemplateResult } from "lit";

import type { AgentState } from "../transport/types";

/** `holding`: she waits because somebody talks. The element around it sets `--level`. */
export function orb(state: AgentState, holding: boolean): TemplateResult {
  return html`<div class="orb" data-state=${state} ?data-holding=${holding} aria-hidden="true">
    <span class="orb-halo"></span>
    <span class="orb-body"></span>
    <span class="orb-sign">${Array.from({ length: 5 }, () => html`<i></i>`)}</span>
  </div>`;
}
