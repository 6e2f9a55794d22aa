import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import preact from "@preact/preset-vite";
import { defineConfig, type Plugin } from "vite";

const SOURCES = ["index.html", "package-lock.json", "package.json", "public", "src", "tsconfig.json", "vite.config.ts"];

function filesUnder(path: string): string[] {
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path).flatMap((name) => filesUnder(`${path}/${name}`));
}

/**
 * Writes sources.sha256 into the build: a digest of everything that the build depends on. The build is committed, so that
 * Umekomi installs without Node.js; tests/explore/test_bundle.py computes the same digest and fails if the build is stale.
 */
function recordSources(): Plugin {
  return {
    name: "record-sources",
    generateBundle() {
      const lines = SOURCES.flatMap(filesUnder)
        .sort()
        .map((path) => `${createHash("sha256").update(readFileSync(path)).digest("hex")}  ${path}\n`);
      this.emitFile({ type: "asset", fileName: "sources.sha256", source: lines.join("") });
    },
  };
}

// Relative addresses, so that the page works wherever it is mounted; no inline scripts or styles, so that the strictest
// content security policy holds.
export default defineConfig({
  base: "./",
  plugins: [preact(), recordSources()],
  build: {
    outDir: "../src/umekomi/explore/web",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 1500,
    license: { fileName: "THIRD-PARTY.md" },
  },
});
