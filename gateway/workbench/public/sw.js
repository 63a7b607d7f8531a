"use strict";
// The desk's shell without a network, and notifications that open the desk. Nothing of a customer is ever kept here: the API's answers
// pass by. Web push is off: it would tell a third party when somebody writes (docs/workbench.md).
const SHELL = "ark-desk-1";

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(SHELL).then((cache) => cache.add("/")).then(() => self.skipWaiting()));
});
self.addEventListener("activate", (event) => {
  const old = caches.keys().then((names) => Promise.all(names.filter((name) => name !== SHELL).map((name) => caches.delete(name))));
  event.waitUntil(old.then(() => self.clients.claim()));
});
// The page says what it was made of; older builds' files go.
self.addEventListener("message", (event) => {
  if (!event.data || event.data.type !== "keep") return;
  const wanted = new Set(event.data.files);
  event.waitUntil(caches.open(SHELL).then(async (cache) => {
    for (const request of await cache.keys()) {
      const path = new URL(request.url).pathname;
      if (path.startsWith("/desk/h/") && !wanted.has(path)) await cache.delete(request);
    }
    for (const file of wanted) if (!(await cache.match(file))) await cache.add(file).catch(() => {});
  }));
});
self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || url.origin !== location.origin) return;
  if (url.pathname.startsWith("/desk/h/")) {
    event.respondWith(caches.match(event.request).then((kept) => kept || fetch(event.request)));
  } else if ((event.request.mode === "navigate" && url.pathname === "/" && !url.search) || url.pathname.startsWith("/desk/")) {
    const key = url.pathname === "/" ? "/" : event.request;
    event.respondWith(fetch(event.request).then((answer) => {
      if (answer.ok) { const copy = answer.clone(); event.waitUntil(caches.open(SHELL).then((cache) => cache.put(key, copy))); }
      return answer;
    }).catch(() => caches.match(key).then((kept) => kept || Response.error())));
  }
});
self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  const conversation = (event.notification.data && event.notification.data.conversation) || "";
  event.waitUntil(self.clients.matchAll({ type: "window" }).then((pages) => {
    const page = pages.find((one) => new URL(one.url).pathname === "/");
    if (!page) return self.clients.openWindow(conversation ? `/#${conversation}` : "/");
    page.postMessage({ type: "open", conversation });
    return page.focus();
  }));
});
