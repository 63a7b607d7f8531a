import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

// The gateway serves `dist` as it is: `/`, `/sw.js`, `/manifest.webmanifest` and everything below `/desk`; files below `/desk/h` have
// names of their own for each content and are kept by browsers for ever.
export default defineConfig({
  plugins: [svelte()],
  base: "/",
  build: {
    target: "es2022",
    assetsDir: "desk/h",
    modulePreload: { polyfill: false },
    // Everything is a file: the content policy allows nothing inline, and no data: address.
    assetsInlineLimit: 0,
    reportCompressedSize: false,
  },
});
