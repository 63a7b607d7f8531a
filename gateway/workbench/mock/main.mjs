// `npm run mock`: the desk over a scripted day, with something happening every few seconds.
import { serve } from "./server.mjs";
import { play } from "./story.mjs";

const mock = await serve({ port: Number(process.env.PORT ?? 8787), accounts: process.env.FIRST !== "1" });
console.log(`the desk: http://localhost:${mock.port}/   (anna, password: correct horse)`);
play(mock);
