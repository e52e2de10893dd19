// A small mediasoup application: rooms at http://HOST:PORT/r/ROOM, signalling by protoo over a
// WebSocket at the same port. See README.md for what can be set.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { build } from "esbuild";
import mediasoup from "mediasoup";
import { WebSocketServer } from "ws";
import { Protoo } from "./protoo.js";
import { Peer, Room } from "./room.js";

const HOST = process.env.HOST ?? "127.0.0.1";
const PORT = Number(process.env.PORT ?? 3000);
const LISTEN_IP = process.env.LISTEN_IP ?? HOST;
const ANNOUNCED_IP = process.env.ANNOUNCED_IP;
const NO_CONTENT = 204;
const MAX_MESSAGE = 1 << 20;

const rooms = new Map();
let worker = null;

async function workerAtHand() {
  worker ??= startWorker();
  return worker;
}

async function startWorker() {
  const started = await mediasoup.createWorker({
    logLevel: "warn",
    rtcMinPort: Number(process.env.RTC_MIN_PORT ?? 40_000),
    rtcMaxPort: Number(process.env.RTC_MAX_PORT ?? 49_999),
  });
  console.log(JSON.stringify({ event: "worker", pid: started.pid }));
  started.on("died", () => {
    console.log(JSON.stringify({ event: "worker_died", pid: started.pid }));
    worker = null;
    for (const [name, opening] of rooms) {
      rooms.delete(name);
      opening.then((room) => room.rebuild()).catch(() => {});
    }
  });
  return started;
}

function roomOf(name) {
  if (!rooms.has(name)) {
    const listenIp = { ip: LISTEN_IP, announcedIp: ANNOUNCED_IP };
    const opening = workerAtHand().then((it) => Room.create(name, it, listenIp));
    opening.catch(() => rooms.delete(name));
    rooms.set(name, opening);
  }
  return rooms.get(name);
}

// What a client asks before its room is open waits for that.
function admit(socket, name, id) {
  const entering = enter(name, id);
  const protoo = new Protoo(socket, {
    answer: async (method, data) => (await entering).answer(method, data),
    hear: async (method, data) => (await entering).hear(method, data),
    closed: () => entering.then((peer) => leave(peer, name)).catch(() => {}),
  });
  entering.then((peer) => {
    peer.protoo = protoo;
    if (socket.readyState === 1) peer.room.enter(peer);
  });
  entering.catch((error) => {
    console.warn(`room ${name}: ${error.message}`);
    socket.close(1013);
  });
}

async function enter(name, id) {
  return new Peer(id, await roomOf(name));
}

function leave(peer, name) {
  const { room } = peer;
  room.leave(peer);
  if (room.peers.size > 0 || room.closed) return;
  rooms.delete(name);
  room.close();
}

const page = await readFile(new URL("page/index.html", import.meta.url));
const bundle = await build({
  entryPoints: [new URL("page/client.js", import.meta.url).pathname],
  bundle: true,
  write: false,
  format: "esm",
  define: { global: "globalThis" },
});
const files = {
  "/client.js": ["text/javascript", bundle.outputFiles[0].contents],
  "/favicon.ico": null,
};

const http = createServer((request, response) => {
  response.setHeader("server", `mediasoup ${mediasoup.version}`);
  const { pathname } = new URL(request.url, "http://host");
  if (pathname in files && files[pathname] === null) {
    response.writeHead(NO_CONTENT).end();
    return;
  }
  const [type, content] = files[pathname] ?? ["text/html; charset=utf-8", page];
  response.writeHead(200, { "content-type": type }).end(content);
});

const sockets = new WebSocketServer({
  server: http,
  maxPayload: MAX_MESSAGE,
  handleProtocols: (offered) => (offered.has("protoo") ? "protoo" : false),
});
sockets.on("connection", (socket, request) => {
  const query = new URL(request.url, "http://host").searchParams;
  const [room, id] = [query.get("roomId"), query.get("peerId")];
  if (!room || !id || socket.protocol !== "protoo") socket.close(1008);
  else admit(socket, room, id);
});

await workerAtHand();
http.listen(PORT, HOST, () => {
  const { port } = http.address();
  console.log(JSON.stringify({ event: "listening", url: `http://${HOST}:${port}` }));
});
