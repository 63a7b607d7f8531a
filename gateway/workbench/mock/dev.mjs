// `npm run dev`: Vite with its instant reload in front, the mock gateway behind it. ARK=http://localhost:8080 puts a real one there.
import { createServer } from "vite";
import { serve } from "./server.mjs";
import { play } from "./story.mjs";

let target = process.env.ARK;
if (!target) {
  const mock = await serve({ port: 0 });
  play(mock);
  target = `http://localhost:${mock.port}`;
}
const to = { target, ws: true };
const vite = await createServer({ server: { port: Number(process.env.PORT ?? 5173), proxy: { "/api": to, "/rtc": to } } });
await vite.listen();
vite.printUrls();
