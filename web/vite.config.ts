import preact from "@preact/preset-vite";
import { defineConfig } from "vite";

// Relative addresses, so that the page works wherever it is mounted; no inline scripts or styles, so that the strictest
// content security policy holds.
export default defineConfig({
  base: "./",
  plugins: [preact()],
  build: {
    outDir: "../src/umekomi/explore/web",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 1500,
  },
});
