import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

import { defineConfig } from "vite";
import type { Plugin } from "vite";

const PERMISSIVE = ["MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "ISC", "0BSD", "Zlib", "CC0-1.0"];

/** Whether an SPDX expression leaves us a permissive choice. */
function isPermissive(license: string): boolean {
  const choices = license.replace(/[()]/g, "").split(" OR ");
  return choices.some((choice) => choice.split(" AND ").every((one) => PERMISSIVE.includes(one.trim())));
}

/** The licences of everything that is bundled, beside it; what is not permissive ends the build. */
function licences(name: string): Plugin {
  const folders = new Set<string>();
  return {
    name: "licences",
    moduleParsed({ id }) {
      const folder = /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(id.replace(/^\0/, ""))?.[0];
      if (folder) folders.add(folder);
    },
    generateBundle() {
      const texts = [...folders].sort().map((folder) => {
        const { name, version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf-8"));
        if (!isPermissive(license)) this.error(`${name} is under ${license}`);
        const file = readdirSync(folder).find((one) => /^(licen[cs]e|copying)/i.test(one));
        return `${name} ${version}: ${license}\n\n${file ? readFileSync(join(folder, file), "utf-8").trim() : ""}`;
      });
      this.emitFile({ type: "asset", fileName: name, source: texts.join(`\n\n${"-".repeat(80)}\n\n`) + "\n" });
    },
  };
}

/** What belongs to what is never shown here: drawing by WebGPU, and surfaces that are read as XML. */
const NOT_SHOWN = /vtk\.js\/(?:.*\/)?(?:WebGPU\/Profiles|IO\/XML)\/|^\.\.\/WebGPU\/Profiles\//;
const LEFT_OUT = "\0left-out";

/** Leaves out what is never shown, which a browser would have to read all the same. */
const leftOut: Plugin = {
  name: "left-out",
  enforce: "pre",
  resolveId: (id) => (NOT_SHOWN.test(id) ? LEFT_OUT : undefined),
  load: (id) => (id === LEFT_OUT ? "export default undefined;" : undefined),
};

// `events` is what a dependency takes from Node; codecs run in workers that are modules of this host.
export default defineConfig({
  base: "/viewer/",
  logLevel: "error",
  resolve: { alias: { events: "events/" } },
  plugins: [leftOut, licences("third-party.txt")],
  worker: { format: "es", plugins: () => [licences("third-party-worker.txt")] },
  build: {
    outDir: "dist",
    assetsDir: "",
    manifest: "manifest.json",
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 6000,
    rollupOptions: { input: "src/main.ts" },
  },
});
