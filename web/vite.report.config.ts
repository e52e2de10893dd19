/** Builds report.html into one file: nothing is loaded, and its policy allows nothing else. */

import { createHash } from "node:crypto";

import { defineConfig, type Plugin } from "vite";

type Bundle = Parameters<Extract<Plugin["generateBundle"], (...args: never) => unknown>>[1];

/** Scripts and styles go into the page, and their hashes into its Content-Security-Policy. */
function oneFile(): Plugin {
  return {
    name: "one-file",
    enforce: "post",
    generateBundle(_, bundle) {
      const page = bundle["report.html"];
      if (page?.type !== "asset") throw new Error("no report.html was built");
      const script = taken(bundle, ".js").replace(/<(?=\/script|!--)/gi, "\\x3c");
      const style = taken(bundle, ".css");
      page.source = String(page.source)
        .replace(/\s*<script type="module"[^>]*><\/script>/, "")
        .replace(/\s*<link rel="stylesheet"[^>]*>/, "")
        .replace("default-src 'none'", () => policyOf(script, style))
        .replace("</head>", () => `<style>${style}</style>\n  </head>`)
        .replace("</body>", () => `<script type="module">${script}</script>\n  </body>`);
    },
  };
}

/** The text of all files with this ending, which then stand in the page alone. */
function taken(bundle: Bundle, ending: string): string {
  const names = Object.keys(bundle).filter((name) => name.endsWith(ending));
  return names
    .map((name) => {
      const file = bundle[name];
      // Rolldown's bundle forgets a file only by `delete`.
      // eslint-disable-next-line @typescript-eslint/no-dynamic-delete
      delete bundle[name];
      return file?.type === "chunk" ? file.code : String(file?.source);
    })
    .join("\n");
}

function policyOf(script: string, style: string): string {
  const rules = [
    "default-src 'none'",
    `script-src '${hashOf(script)}'`,
    `style-src '${hashOf(style)}'`,
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
  ];
  return rules.join("; ");
}

const hashOf = (text: string): string =>
  `sha256-${createHash("sha256").update(text, "utf8").digest("base64")}`;

export default defineConfig({
  base: "./",
  publicDir: false,
  plugins: [oneFile()],
  build: {
    outDir: "../src/mulisa/compare/page",
    emptyOutDir: true,
    target: "es2023",
    modulePreload: false,
    chunkSizeWarningLimit: 600, // Observable Plot
    rolldownOptions: { input: "report.html" },
  },
});
