// Requests to /api/v1. A failure says whether it is worth trying again.

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly retryAfter: number | null = null,
    readonly body: unknown = null,
  ) {
    super(message);
  }
  /** The gateway or the network is away: the same request may go well later. */
  get passing(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

let onSignedOut: () => void = () => {};
/** What is done when the gateway no longer knows this browser. */
export function whenSignedOut(act: () => void): void {
  onSignedOut = act;
}

export async function api<T = unknown>(
  path: string,
  options: { method?: string; body?: unknown; raw?: Blob; signal?: AbortSignal; quiet?: boolean } = {},
): Promise<T> {
  const { body, raw, signal } = options;
  const method = options.method ?? (body === undefined && raw === undefined ? "GET" : "POST");
  const headers: Record<string, string> = {};
  if (body !== undefined) headers["content-type"] = "application/json";
  if (raw) headers["content-type"] = raw.type || "application/octet-stream";
  let answer: Response;
  try {
    answer = await fetch(`/api/v1/${path}`, {
      method,
      headers,
      body: raw ?? (body === undefined ? null : JSON.stringify(body)),
      signal: signal ?? AbortSignal.timeout(30_000),
      credentials: "same-origin",
    });
  } catch (error) {
    throw new ApiError(0, "network", error instanceof Error ? error.message : String(error));
  }
  const text = await answer.text();
  let value: unknown = null;
  try {
    value = text ? JSON.parse(text) : null;
  } catch {
    /* A proxy's page instead of JSON: the status says enough. */
  }
  if (answer.ok) return value as T;
  const said = (value as { error?: { code?: string; message?: string } } | null)?.error;
  const wait = Number(answer.headers.get("retry-after"));
  if (answer.status === 401 && !options.quiet) onSignedOut();
  throw new ApiError(answer.status, said?.code ?? String(answer.status), said?.message ?? answer.statusText, wait > 0 ? wait : null, value);
}

export const id = encodeURIComponent;
export const socketUrl = (path: string): string => `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`;
