/** Relays (TURN servers) among ICE servers. Pure. */

/** Whether any of them relays (RFC 7065, 3.1). */
export function canRelay(servers: readonly RTCIceServer[]): boolean {
  const urls = servers.flatMap((server) => server.urls);
  return urls.some((url) => /^turns?:/i.test(url));
}
