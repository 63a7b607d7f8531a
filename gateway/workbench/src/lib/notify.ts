// Notifications while the desk is open and nobody looks at it; by the service worker where there is one, so that phones show them too.
let worker: ServiceWorkerRegistration | null = null;

export async function startWorker(open: (conversation: string) => void): Promise<void> {
  if (!("serviceWorker" in navigator)) return;
  try {
    worker = await navigator.serviceWorker.register("/sw.js");
    navigator.serviceWorker.addEventListener("message", (event: MessageEvent<{ type?: string; conversation?: string }>) => {
      if (event.data?.type === "open" && event.data.conversation) open(event.data.conversation);
    });
    const ready = await navigator.serviceWorker.ready;
    const files = performance.getEntriesByType("resource").map((one) => new URL(one.name).pathname).filter((one) => one.startsWith("/desk/h/"));
    ready.active?.postMessage({ type: "keep", files: [...new Set(files)] });
  } catch {
    /* Without it the desk works as long as the gateway is there. */
  }
}
export function mayNotify(): NotificationPermission | "none" {
  return "Notification" in globalThis ? Notification.permission : "none";
}
export function notify(title: string, body: string, conversation: string): void {
  if (!document.hidden || mayNotify() !== "granted") return;
  const options = { body, tag: conversation, icon: "/desk/icon-192.png", data: { conversation } };
  try {
    if (worker) void worker.showNotification(title, options);
    else new Notification(title, options).onclick = () => window.focus();
  } catch {
    /* The page's own marks say it as well. */
  }
}
