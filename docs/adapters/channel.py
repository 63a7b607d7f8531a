#!/usr/bin/env python3
"""A channel to try an adapter with: what a customer writes is posted to the adapter's webhook, and the house's answers come to its API.

  python3 channel.py 9001 http://127.0.0.1:9000/webhook channel.db TOKEN

The provider's side: POST /send, with `Authorization: Bearer TOKEN`. 200: taken; 429 (Retry-After) and 5xx: not taken; another 4xx: never.
The test's side (section 6 of the standard): POST /inject, GET /outbox, POST /fault. What it took is on the disk.
"""
import base64, hashlib, json, sqlite3, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib import parse, request

PORT, WEBHOOK, TOKEN, LOCK, FAULTS = int(sys.argv[1]), sys.argv[2], "Bearer " + sys.argv[4], threading.RLock(), []
DB = sqlite3.connect(sys.argv[3], check_same_thread=False, isolation_level=None)
DB.executescript("pragma journal_mode = wal; pragma synchronous = full; create table if not exists outbox (n integer primary key, entry text);")


def sql(text, *values):
    with LOCK:
        return DB.execute(text, values).fetchall()


def shown(part):
    """A file stands in the outbox with the hash of the bytes that were sent."""
    if part["kind"] == "text":
        return part
    return {"kind": part["kind"], "sha256": hashlib.sha256(base64.b64decode(part["base64"])).hexdigest()}


def fault_of(thread):
    with LOCK:
        fault = next((one for one in FAULTS if one.get("thread", thread) == thread), {"answer": "none"})
        fault["times"] = fault.get("times", 1 << 30) - 1
        if fault["times"] == 0:
            FAULTS.remove(fault)
    return fault


class Channel(BaseHTTPRequestHandler):
    def answer(self, status, value, **headers):
        body = json.dumps(value, ensure_ascii=False).encode()
        self.send_response(status)
        for name, text in {"content-type": "application/json", "content-length": len(body), **headers}.items():
            self.send_header(name, str(text))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        path, _, query = self.path.partition("?")
        after = int(parse.parse_qs(query).get("after", ["0"])[0])
        rows = sql("select entry from outbox order by n limit -1 offset ?", after)
        self.answer(200 if path == "/outbox" else 404, [json.loads(row[0]) for row in rows])

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        {"/inject": self.inject, "/fault": self.fault, "/send": self.send}[self.path](body)

    def inject(self, body):
        """A customer writes: the adapter's answer says whether the channel may forget it."""
        asked = request.Request(WEBHOOK, body, {"content-type": "application/json", "authorization": TOKEN})
        try:
            with request.urlopen(asked, timeout=9) as answer:
                self.answer(answer.status, {})
        except OSError as error:
            self.answer(getattr(error, "code", 502), {"error": repr(error)})

    def fault(self, body):
        what = json.loads(body)
        with LOCK:
            FAULTS[:] = [] if what["answer"] == "none" else [what]
        self.answer(200, {})

    def send(self, body):
        if self.headers.get("authorization") != TOKEN:
            return self.answer(401, {})
        message = json.loads(body)
        fault = fault_of(message["thread"])
        if fault["answer"] in ("none", "timeout"):
            entry = {"id": message["id"], "thread": message["thread"], "parts": [shown(part) for part in message["parts"]]}
            sql("insert into outbox (entry) values (?)", json.dumps(entry, ensure_ascii=False))
        if fault["answer"] == "timeout":
            self.close_connection = True  # it was taken, and nobody hears of it
        elif fault["answer"] in ("429", "500"):
            wait = {"Retry-After": fault["retry_after_s"]} if "retry_after_s" in fault else {}
            self.answer(int(fault["answer"]), {"error": "not taken"}, **wait)
        else:
            self.answer(200 if fault["answer"] == "none" else 403, {})

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", PORT), Channel).serve_forever()
