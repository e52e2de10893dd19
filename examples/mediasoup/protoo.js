// protoo, the signalling protocol of mediasoup's demo application: JSON over a WebSocket, in which
// both ends may ask. Works in Node (ws) and in browsers.

const REQUEST_TIME = 10_000;

export class Protoo {
  // `answer(method, data)` returns (a promise of) what the other end's request is answered with,
  // or throws; `hear(method, data)` is told of notifications.
  constructor(socket, { answer, hear, closed }) {
    this.socket = socket;
    this.asked = new Map();
    this.last = 0;
    socket.addEventListener("message", ({ data }) => this.receive(data, answer, hear));
    socket.addEventListener("close", ({ code }) => {
      for (const { reject } of this.asked.values()) reject(new Error("the connection is closed"));
      this.asked.clear();
      closed?.(code);
    });
    socket.addEventListener("error", () => {});
  }

  request(method, data = {}) {
    const id = ++this.last;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no answer to ${method}`)), REQUEST_TIME);
      const settle = (done) => (value) => {
        clearTimeout(timer);
        this.asked.delete(id);
        done(value);
      };
      this.asked.set(id, { resolve: settle(resolve), reject: settle(reject) });
      this.send({ request: true, id, method, data });
    });
  }

  notify(method, data = {}) {
    this.send({ notification: true, method, data });
  }

  send(message) {
    if (this.socket.readyState === 1) this.socket.send(JSON.stringify(message));
  }

  close(code) {
    this.socket.close(code);
  }

  async receive(text, answer, hear) {
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return;
    }
    if (message === null || typeof message !== "object") return;
    const { id, method } = message;
    const data = message.data ?? {};
    if (message.request && typeof method === "string") {
      try {
        this.send({ response: true, id, ok: true, data: (await answer(method, data)) ?? {} });
      } catch (error) {
        const errorReason = String(error?.message ?? error);
        this.send({ response: true, id, ok: false, errorCode: 500, errorReason });
      }
    } else if (message.response) {
      const asked = this.asked.get(id);
      if (message.ok) asked?.resolve(data);
      else asked?.reject(new Error(String(message.errorReason)));
    } else if (message.notification && typeof method === "string") {
      try {
        await hear(method, data);
      } catch (error) {
        console.warn(`${method}: ${error?.message ?? error}`);
      }
    }
  }
}
