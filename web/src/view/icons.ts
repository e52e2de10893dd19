/** Line icons, 24 by 24, drawn in the colour of the text beside them. */

import { svg, html, type SVGTemplateResult, type TemplateResult } from "lit";

function icon(paths: SVGTemplateResult): TemplateResult {
  return html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true">${paths}</svg>`;
}

const microphone = svg`<rect x="9" y="3" width="6" height="11" rx="3" /><path
  d="M5.5 11.5a6.5 6.5 0 0 0 13 0M12 18v3M8.5 21h7" />`;

const ear = svg`<path d="M7 9.5a5.5 5.5 0 0 1 11 0c0 3.5-3.2 4.4-3.2 7.3A3.2 3.2 0 0 1 9 18.6" /><path
  d="M9.8 9.6a2.7 2.7 0 0 1 5.4 0c0 1.9-2.4 2.1-2.4 4" />`;

/** Strength in three steps, of which so many are filled. */
export function bars(steps: 1 | 2 | 3): TemplateResult {
  const bar = (n: number) =>
    svg`<rect class=${n <= steps ? "step on" : "step"} x=${n * 6 - 2} y=${18 - n * 4.5} width="4" height=${n * 4.5 + 2} rx="1" />`;
  return icon(svg`${[1, 2, 3].map(bar)}`);
}

export const icons = {
  mic: icon(microphone),
  micOff: icon(svg`${microphone}<path class="slash" d="M4 4l16 16" />`),
  hold: icon(svg`<path d="M12 3v8M8.5 7.5 12 11l3.5-3.5" /><rect x="4" y="14" width="16" height="6" rx="3" />`),
  devices: icon(svg`<path d="M4 7h9M17 7h3M4 17h3M11 17h9" /><circle cx="15" cy="7" r="2" /><circle
    cx="9" cy="17" r="2" />`),
  link: icon(svg`<path d="M10 14a4 4 0 0 0 5.7 0l3-3a4 4 0 0 0-5.7-5.7l-1 1M14 10a4 4 0 0 0-5.7 0l-3 3A4 4 0 0 0 11
    18.7l1-1" />`),
  leave: icon(svg`<path d="M10 4H6a2 2 0 0 0-2 2v12a2 2 0 0 0 2 2h4M15 8l4 4-4 4M19 12H9" />`),
  keys: icon(svg`<rect x="3" y="6" width="18" height="12" rx="2" /><path
    d="M7 10h.01M11 10h.01M15 10h.01M8 14h8" />`),
  routing: icon(svg`<path d="M4 7h5c5 0 6 10 11 10M4 17h5c5 0 6-10 11-10M17 4l3 3-3 3M17 14l3 3-3 3" />`),
  anatomy: icon(svg`<circle cx="12" cy="5.5" r="2.5" /><circle cx="5.5" cy="17.5" r="2.5" /><circle
    cx="18.5" cy="17.5" r="2.5" /><path d="M10.8 7.7 6.7 15.3M13.2 7.7l4.1 7.6M8 17.5h8" />`),
  close: icon(svg`<path d="M6 6l12 12M18 6 6 18" />`),
  ear: icon(ear),
  earOff: icon(svg`${ear}<path class="slash" d="M4 4l16 16" />`),
  lock: icon(svg`<rect x="5.5" y="10.5" width="13" height="9" rx="2" /><path d="M8.5 10.5V8a3.5 3.5 0 0 1 7 0v2.5" />`),
  light: icon(svg`<circle cx="12" cy="12" r="4" /><path
    d="M12 3v2M12 19v2M3 12h2M19 12h2M5.6 5.6 7 7M17 17l1.4 1.4M18.4 5.6 17 7M7 17l-1.4 1.4" />`),
  dark: icon(svg`<path d="M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10z" />`),
  warning: icon(svg`<path d="M12 4 2.8 19.5h18.4zM12 10v4.5M12 17.2v.01" />`),
  sound: icon(svg`<path d="M4 9.5v5h3.5L12 19V5L7.5 9.5zM15.5 9a4 4 0 0 1 0 6M18 6.5a8 8 0 0 1 0 11" />`),
  send: icon(svg`<path d="M12 19V5M6 11l6-6 6 6" />`),
  up: icon(svg`<path d="m6 15 6-6 6 6" />`),
  down: icon(svg`<path d="m6 9 6 6 6-6" />`),
  broken: icon(svg`<path d="M9 8H7a4 4 0 0 0 0 8h2M15 8h2a4 4 0 0 1 0 8h-2M12 4v3M12 17v3" />`),
  check: icon(svg`<path d="m5 12.5 4.5 4.5L19 7.5" />`),
} as const;
