/** Dots on lines that move as packets do; the style sheet moves one dot's distance in a second. */

export const PACKETS_PER_DOT = 10;

/** Let each `.dots[data-rate]` below `root` move at its packets per second; without motion nothing does. */
export function flowAtRate(root: Element): void {
  for (const dots of root.querySelectorAll<SVGElement>(".dots[data-rate]")) {
    const rate = Number(dots.dataset.rate) / PACKETS_PER_DOT;
    for (const animation of dots.getAnimations()) animation.updatePlaybackRate(rate);
  }
}
