"""The adapter's side of Ark's standard over HTTP, in the standard library: take it as it is. Yours is adapter.py.

What waits for Ark, and what was said of each message of the house, is in one table on the disk: a kill loses and doubles nothing.
"""
import base64, hmac, json, os, sqlite3, threading, time
from collections import defaultdict
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib import parse, request

ARK, PORT = os.environ["ARK"], int(os.environ["PORT"])
KEYS = [base64.b64decode(os.environ[name].removeprefix("whsec_")) for name in ("SECRET", "OLD_SECRET") if os.environ.get(name)]
LOCK, ORDER = threading.Lock(), defaultdict(threading.Lock)
DB = sqlite3.connect(os.environ["DB"], check_same_thread=False, isolation_level=None)
DB.executescript("""pragma journal_mode = wal; pragma synchronous = full;
create table if not exists events (n integer primary key, id text unique, event text);""")  # an empty event is done with

class NotNow(Exception):
    """The channel did not take a message: again, after so many seconds."""
    def __init__(self, seconds="1"):
        self.headers = {"retry-after": seconds}

def sql(text, *values):
    with LOCK:
        return DB.execute(text, values).fetchall()

def put(id, kind=None, thread=None, **data):
    """An event that Ark is to have, or a note; durable when it returns. False: it was there before."""
    event = kind and {"specversion": "1.0", "type": kind, "id": id, "time": datetime.now(timezone.utc).isoformat(),
                      "source": f"/ark/main/http/{ARK.split('/')[-1]}/{parse.quote(thread, safe='')}",
                      "datacontenttype": "application/json", "data": {"thread": thread, **data}}
    return sql("insert or ignore into events (id, event) values (?, ?) returning n", id, json.dumps(event) if event else "") != []

def signature(key, id, at, body):
    return "v1," + base64.b64encode(hmac.digest(key, f"{id}.{at}.".encode() + body, "sha256")).decode()

def ask(path, id, body=None):
    at = str(int(time.time()))
    headers = {"webhook-id": id, "webhook-timestamp": at, "webhook-signature": signature(KEYS[0], id, at, body or b"")}
    with request.urlopen(request.Request(ARK + path, body, headers), timeout=10) as answer:
        return answer.read()

def carry():
    """Brings Ark what waits, messages and receipts, in order, each until Ark has it."""
    while True:
        pause = 0.02
        for n, id, text in sql("select n, id, event from events where event != '' order by n limit 100"):
            try:
                print(json.loads(ask("/ark/v1/ingest", id, text.encode()))["results"], flush=True)  # accepted, or rejected for good
                sql("update events set event = '' where n = ?", n)
            except (OSError, ValueError) as away:  # not taken, or not known: again, under the same id
                pause = float((getattr(away, "headers", None) or {}).get("retry-after", 0.5))
                break
        time.sleep(pause)

def take(event, manifest, send):
    """A message of the house goes to the channel once, and a receipt says what became of it."""
    id, thread, parts = event["id"], event["data"]["thread"], event["data"].get("parts", [])
    if event["type"] != "ark.message.out.v1" or any(part["kind"] not in manifest["capabilities"] for part in parts):
        return {"id": id, "status": "rejected", "code": "parts"}
    for part in parts:
        if "media" in part:
            part["base64"] = base64.b64encode(ask("/ark/v1/media/" + part["media"]["ref"].removeprefix("ark-media:"), id)).decode()
    with ORDER[thread]:
        if sql("select n from events where id = ?", "r:" + id):
            return {"id": id, "status": "duplicate"}
        try:  # Begun before, and not told: this process was killed in between, and nobody knows.
            code = send(id, thread, parts) if put("begun:" + id) else "outcome_unknown"
        except NotNow:
            sql("delete from events where id = ?", "begun:" + id)
            raise
        what = {"state": "failed", "reason": {"code": code, "retriable": False}} if code else {"state": "sent"}
        put("r:" + id, "ark.receipt.v1", thread, message=id, **what)
    return {"id": id, "status": "accepted"}

def serve(manifest, send, webhook):
    """Serves until it is killed. `send(id, thread, parts)`, and `webhook(headers, body)` for what the channel posts to /webhook."""
    class Handler(BaseHTTPRequestHandler):
        def answer(self, status, value, wait="1"):
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("retry-after", wait)
            self.end_headers()
            self.wfile.write(json.dumps(value).encode())

        def do_GET(self):
            known = {"/.well-known/ark-adapter": manifest, "/ark/v1/health": {"status": "ok"}}
            self.answer(200 if self.path in known else 404, known.get(self.path))

        def do_POST(self):
            length = int(self.headers.get("content-length", 1 << 30))
            if length > (1 << 20 if self.path == "/ark/v1/events" else 1 << 26):
                return self.answer(413, "too long")
            try:
                self.answer(*{"/ark/v1/events": events, "/webhook": webhook}[self.path](self.headers, self.rfile.read(length)))
            except (NotNow, OSError) as away:  # the channel or Ark: the same again later
                self.answer(503, repr(away), (getattr(away, "headers", None) or {}).get("retry-after", "1"))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as wrong:
                self.answer(400, repr(wrong))

    def events(headers, body):
        id, at, given = (headers.get("webhook-" + name, "") for name in ("id", "timestamp", "signature"))
        good = [hmac.compare_digest(one.encode(), signature(key, id, at, body).encode()) for key in KEYS for one in given.split()[:16]]
        if not any(good) or abs(time.time() - int(at)) > 300:
            return 401, "not signed by our gateway, or not now"
        return 200, {"results": [take(event, manifest, send) for event in json.loads(body)]}

    threading.Thread(target=carry, daemon=True).start()
    ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
