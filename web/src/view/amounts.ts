/** Amounts with their units and sensible digits. */

/** "32 kb/s", "1.2 Mb/s". */
export function bitRate(bitsPerSecond: number): string {
  const kilo = bitsPerSecond / 1000;
  if (kilo >= 1000) return `${(kilo / 1000).toFixed(1)} Mb/s`;
  return `${kilo.toFixed(kilo > 0 && kilo < 9.95 ? 1 : 0)} kb/s`;
}

/** "50 /s". */
export function perSecond(count: number): string {
  return `${Math.round(count)} /s`;
}

/** Of 0..1: "0 %", "2.5 %", "31 %". */
export function percent(share: number): string {
  return share === 0 ? "0 %" : `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
}

export function milliseconds(ms: number): string {
  return ms < 1 ? "under 1 ms" : `${Math.round(ms)} ms`;
}

/** "840 B", "12 kB", "1.4 MB". */
export function bytes(count: number): string {
  if (count < 1000) return `${count} B`;
  if (count < 999_500) return `${(count / 1000).toFixed(count < 9_950 ? 1 : 0)} kB`;
  return `${(count / 1_000_000).toFixed(1)} MB`;
}

/** "12,345". */
export function count(number: number): string {
  return number.toLocaleString("en");
}
