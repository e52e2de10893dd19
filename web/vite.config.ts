import { defineConfig } from "vitest/config";

export default defineConfig({
  base: "/", // the page is served at / and at /r/{room}
  build: {
    outDir: "../src/mulisa/server/page",
    emptyOutDir: true,
    target: "es2023",
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
    chunkSizeWarningLimit: 600, // livekit-client, which only rooms on an SFU load
  },
  server: {
    proxy: { "/api": "http://127.0.0.1:8000", "/mesh": { target: "ws://127.0.0.1:8000", ws: true } },
  },
  test: { include: ["test/**/*.test.ts"], environment: "node" },
});
