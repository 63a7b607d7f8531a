#!/usr/bin/env python3
"""A whole Ark adapter in the standard library: what a customer's app posts goes to Ark, what Ark says goes to the app.

  ARK=http://127.0.0.1:8080/hooks/shop SECRET=whsec_... PORT=9000 DB=adapter.db python3 adapter.py

The app posts {"thread", "id", "text"} to /inject and reads what it was told at /outbox. Both ways are durable: a message
is answered after it is in the file, carried until Ark has it, and known by its id, so that nothing is lost or doubled.
"""
import base64, hashlib, hmac, json, os, sqlite3, threading, time, urllib.error, urllib.request
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ARK, SECRET = os.environ["ARK"].rstrip("/"), os.environ["SECRET"]
KEY = base64.b64decode(SECRET.removeprefix("whsec_"))
SOURCE = "/ark/main/http/%s/" % ARK.rsplit("/", 1)[1]
MANIFEST = {
    "ark_adapter": "1", "id": "sample-python", "version": "1.0.0", "channel": "sample",
    "transport": {"mode": "http", "url": "http://127.0.0.1:%s" % os.environ["PORT"]},
    "capabilities": {"text": {"in": True, "out": True}, "card": {"in": False, "out": False, "fallback": "text"}},
    "identity": {"key_kinds": ["custom"]}, "ordering": "per_thread",
    "dedup": {"inbound_id": "native", "outbound_key_ttl_s": 259200}, "limits": {},
}
DB, LOCK, WAKE = sqlite3.connect(os.environ["DB"], check_same_thread=False), threading.Lock(), threading.Event()
DB.executescript("pragma synchronous = full; create table if not exists inbox (n integer primary key, id text unique, event text);"
                 "create table if not exists outbox (n integer primary key, id text unique, event text);")

def signature(id, at, body):
    return "v1," + base64.b64encode(hmac.new(KEY, b"%s.%s." % (id.encode(), at.encode()) + body, hashlib.sha256).digest()).decode()

def put(table, id, event):
    """Durable when it returns; False: it was there before."""
    with LOCK, DB:
        return DB.execute("insert or ignore into %s (id, event) values (?, ?)" % table, (id, json.dumps(event))).rowcount == 1

def carry():
    """Brings Ark what waits, in order, until it has it."""
    while True:
        with LOCK:
            row = DB.execute("select n, id, event from inbox order by n limit 1").fetchone()
        if row is None:
            WAKE.wait(1)
            WAKE.clear()
            continue
        body, at = row[2].encode(), str(int(time.time()))
        headers = {"content-type": "application/cloudevents+json", "webhook-id": row[1], "webhook-timestamp": at,
                   "webhook-signature": signature(row[1], at, body)}
        try:
            with urllib.request.urlopen(urllib.request.Request(ARK + "/ark/v1/ingest", body, headers), timeout=10) as answer:
                result = json.load(answer)["results"][0]
        except (OSError, ValueError) as error:  # not taken: again later, under the same id
            print("ark is away:", error, flush=True)
            time.sleep(0.5)
            continue
        if result["status"] == "rejected":
            print("refused for good:", result, flush=True)
        with LOCK, DB:
            DB.execute("delete from inbox where n = ?", (row[0],))

class Handler(BaseHTTPRequestHandler):
    def answer(self, status, value):
        body = json.dumps(value, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        with LOCK:
            outbox = [json.loads(row[0]) for row in DB.execute("select event from outbox order by n")]
        known = {"/.well-known/ark-adapter": MANIFEST, "/ark/v1/health": {"status": "ok"}, "/outbox": outbox}
        self.answer(200 if self.path in known else 404, known.get(self.path))

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/inject":
            said = json.loads(body)
            event = {"specversion": "1.0", "type": "ark.message.in.v1", "id": said["id"], "source": SOURCE + said["thread"],
                     "time": datetime.now(timezone.utc).isoformat(), "datacontenttype": "application/json",
                     "data": {"thread": said["thread"], "sender": {"role": "customer", "id": said["thread"]},
                              "parts": [{"kind": "text", "text": said["text"]}]}}
            put("inbox", said["id"], event)
            WAKE.set()
            return self.answer(202, {})
        id, at = self.headers.get("webhook-id", ""), self.headers.get("webhook-timestamp", "0")
        given = self.headers.get("webhook-signature", "").split()
        fresh = at.isdigit() and abs(time.time() - int(at)) < 300
        if not fresh or not any(hmac.compare_digest(one, signature(id, at, body)) for one in given):
            return self.answer(401, {"error": "not signed by our gateway, or not now"})
        results = []
        for event in json.loads(body):
            new = event["type"] != "ark.message.out.v1" or put("outbox", event["id"], event)
            results.append({"id": event["id"], "status": "accepted" if new else "duplicate"})
        self.answer(200, {"results": results})

    def log_message(self, *_):
        pass

threading.Thread(target=carry, daemon=True).start()
ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
