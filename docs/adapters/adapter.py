#!/usr/bin/env python3
"""A whole Ark adapter in the standard library: what customers write in a channel goes to Ark, what Ark says goes to the channel.

  ARK=http://127.0.0.1:8080/hooks/shop SECRET=whsec_... PORT=9000 DB=adapter.db CHANNEL=http://127.0.0.1:9001 TOKEN=... python3 adapter.py

Yours are said(), send() and how your channel proves that its webhook is its own; channel.py stands for one. What a customer writes is on
the disk before the channel hears 200, and a message of the house is noted before it is sent: a kill loses and doubles nothing.
"""
import base64, hashlib, hmac, json, os, sqlite3, threading, time
from collections import defaultdict
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib import error, parse, request

ARK, PORT, CHANNEL, TOKEN = os.environ["ARK"], int(os.environ["PORT"]), os.environ["CHANNEL"], "Bearer " + os.environ["TOKEN"]
KEYS = [base64.b64decode(os.environ[name].removeprefix("whsec_")) for name in ("SECRET", "OLD_SECRET") if os.environ.get(name)]
MANIFEST = {
    "ark_adapter": "1", "id": "sample-python", "version": "2.0.0", "channel": "sample", "ordering": "per_thread", "limits": {},
    "transport": {"mode": "http", "url": f"http://127.0.0.1:{PORT}", "max_batch": 1}, "identity": {"key_kinds": ["custom"]},
    "capabilities": {"text": {"in": True, "out": True}, "image": {"in": True, "out": True, "fallback": "text"}},
    "dedup": {"inbound_id": "native", "outbound_key_ttl_s": 259200}}
if os.environ.get("ARK_TESTING") == "1":
    MANIFEST["testing"] = {hook: f"{CHANNEL}/{hook}" for hook in ("inject", "outbox", "fault")}
LOCK, ORDER = threading.Lock(), defaultdict(threading.Lock)
DB = sqlite3.connect(os.environ["DB"], check_same_thread=False, isolation_level=None)
DB.executescript("""pragma journal_mode = wal; pragma synchronous = full;
create table if not exists events (n integer primary key, id text unique, event text);""")  # an empty event is done with

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

def ark(path, id, body=None):
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
                print(json.loads(ark("/ark/v1/ingest", id, text.encode()))["results"], flush=True)  # accepted, or rejected for good
                sql("update events set event = '' where n = ?", n)
            except (OSError, ValueError) as away:  # not taken, or not known: again, under the same id
                pause = float((getattr(away, "headers", None) or {}).get("retry-after", 0.5))
                break
        time.sleep(pause)

def said(message):
    """What a customer wrote, as parts: nothing is dropped."""
    if file := message.get("file"):
        kept = ark("/ark/v1/media?" + parse.urlencode({"kind": file["kind"], "name": file["name"]}), message["id"], base64.b64decode(file["base64"]))
        return [{"kind": file["kind"], "media": json.loads(kept)}]
    if text := message.get("text"):
        return [{"kind": "text", "text": text[at:at + 20000]} for at in range(0, len(text), 20000)]
    return [{"kind": "unsupported", "native_type": message["native"]["type"], "fallback_text": message["native"]["words"]}]

def send(message):
    """The channel's API. None: it took the message; a code: it never will, or nobody knows; raises: not now."""
    try:
        request.urlopen(request.Request(CHANNEL + "/send", json.dumps(message).encode(), {"authorization": TOKEN}), timeout=5).close()
    except error.HTTPError as no:
        if no.code == 429 or no.code >= 500:
            sql("delete from events where id = ?", "begun:" + message["id"])
            raise
        return "blocked"
    except OSError:
        return "outcome_unknown"

def take(event):
    """A message of the house goes to the channel once, and a receipt says what became of it."""
    id, thread, parts = event["id"], event["data"]["thread"], event["data"].get("parts", [])
    if event["type"] != "ark.message.out.v1" or any(part["kind"] not in MANIFEST["capabilities"] for part in parts):
        return {"id": id, "status": "rejected", "code": "parts"}
    native = [part if part["kind"] == "text" else {"kind": part["kind"], "base64": base64.b64encode(
        ark("/ark/v1/media/" + part["media"]["ref"].removeprefix("ark-media:"), id)).decode()} for part in parts]
    with ORDER[thread]:
        if sql("select n from events where id = ?", "r:" + id):
            return {"id": id, "status": "duplicate"}
        # Begun before, and not told: this process was killed in between, and nobody knows.
        code = send({"id": id, "thread": thread, "parts": native}) if put("begun:" + id) else "outcome_unknown"
        what = {"state": "failed", "reason": {"code": code, "retriable": False}} if code else {"state": "sent"}
        put("r:" + id, "ark.receipt.v1", thread, message=id, **what)
    return {"id": id, "status": "accepted"}

class Adapter(BaseHTTPRequestHandler):
    def answer(self, status, value, wait="1"):
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("retry-after", wait)
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())

    def do_GET(self):
        known = {"/.well-known/ark-adapter": MANIFEST, "/ark/v1/health": {"status": "ok"}}
        self.answer(200 if self.path in known else 404, known.get(self.path))

    def do_POST(self):
        length = int(self.headers.get("content-length", 1 << 30))
        if length > (1 << 20 if self.path == "/ark/v1/events" else 1 << 26):
            return self.answer(413, "too long")
        try:
            self.answer(*{"/ark/v1/events": self.events, "/webhook": self.webhook}[self.path](self.rfile.read(length)))
        except OSError as away:  # the channel or Ark: the same again later
            self.answer(503, repr(away), (getattr(away, "headers", None) or {}).get("retry-after", "1"))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as wrong:
            self.answer(400, repr(wrong))

    def webhook(self, body):
        if not hmac.compare_digest(self.headers.get("authorization", ""), TOKEN):
            return 401, "not from the channel"
        message = json.loads(body)
        put("m:" + message["id"], "ark.message.in.v1", message["thread"], sender={"role": "customer", "id": message["thread"]}, parts=said(message))
        return 200, "it is on the disk"

    def events(self, body):
        id, at, given = (self.headers.get("webhook-" + name, "") for name in ("id", "timestamp", "signature"))
        good = [hmac.compare_digest(one.encode(), signature(key, id, at, body).encode()) for key in KEYS for one in given.split()[:16]]
        if not any(good) or abs(time.time() - int(at)) > 300:
            return 401, "not signed by our gateway, or not now"
        return 200, {"results": [take(event) for event in json.loads(body)]}

threading.Thread(target=carry, daemon=True).start()
ThreadingHTTPServer(("127.0.0.1", PORT), Adapter).serve_forever()
