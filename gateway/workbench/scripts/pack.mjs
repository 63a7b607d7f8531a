// After the build: each file once more as gzip and brotli, so that the gateway need not pack at run time.
import { readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const dist = new URL("../dist/", import.meta.url).pathname;
const SMALL = 700;
let whole = 0;

function walk(folder) {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) { walk(path); continue; }
    if (!/\.(html|js|css|json|svg|webmanifest)$/.test(name)) continue;
    const bytes = readFileSync(path);
    const gzip = gzipSync(bytes, { level: 9 });
    if (path.includes("/desk/h/")) whole += gzip.length;
    if (bytes.length < SMALL) continue;
    const options = { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length } };
    writeFileSync(`${path}.gz`, gzip);
    writeFileSync(`${path}.br`, brotliCompressSync(bytes, options));
  }
}
walk(dist);
// Cargo looks at this file while there is no `dist`.
const built = new URL("../.built", import.meta.url).pathname;
writeFileSync(built, "");
utimesSync(built, new Date(), new Date());
console.log(`scripts and styles: ${(whole / 1024).toFixed(1)} KB as gzip`);
if (whole > 120 * 1024) { console.error("more than the 120 KB that they may have"); process.exit(1); }
