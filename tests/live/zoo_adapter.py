#!/usr/bin/env python3
"""The adapter that the zoo breaks, one fault at a time: with a queue of its own each way, and its channel's stand-in within itself.

  ARK=http://127.0.0.1:8080/hooks/shop SECRET=whsec_... PORT=9000 DB=adapter.db ARK_TESTING=1 python3 zoo_adapter.py
"""
import base64, hashlib, hmac, json, os, sqlite3, threading, time, urllib.error, urllib.parse, urllib.request
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ARK, PORT, TESTING = os.environ["ARK"].rstrip("/"), int(os.environ["PORT"]), os.environ.get("ARK_TESTING") == "1"
KEYS = [base64.b64decode(os.environ[name].removeprefix("whsec_")) for name in ("SECRET", "OLD_SECRET") if os.environ.get(name)]
SOURCE, MIB = "/ark/main/http/%s/" % ARK.rsplit("/", 1)[1], 1 << 20
MANIFEST = {
    "ark_adapter": "1", "id": "zoo", "version": "1.0.0", "channel": "sample",
    "transport": {"mode": "http", "url": "http://127.0.0.1:%d" % PORT, "max_batch": 16},
    "capabilities": {"text": {"in": True, "out": True}, "image": {"in": True, "out": True, "mime": ["image/*"], "fallback": "text"}},
    "identity": {"key_kinds": ["custom"]}, "ordering": "per_thread",
    "dedup": {"inbound_id": "native", "outbound_key_ttl_s": 259200}, "limits": {},
    **({"testing": {"inject": "/inject", "outbox": "/outbox", "fault": "/fault"}} if TESTING else {}),
}
LOCK, WAKE, FAULTS = threading.RLock(), threading.Condition(), []
DB = sqlite3.connect(os.environ["DB"], check_same_thread=False, isolation_level=None)
DB.executescript("""pragma journal_mode = wal; pragma synchronous = full;
create table if not exists ingest (n integer primary key, id text unique, event text, done int default 0);
create table if not exists send (n integer primary key, id text unique, thread text, event text, state text default 'new');
create table if not exists outbox (n integer primary key, entry text);""")

def sql(text, *values):
    with LOCK:
        return DB.execute(text, values).fetchall()

def once(table, id, **more):
    """Durable when it returns; False: it was there before."""
    names, marks = ", ".join(["id", *more]), ", ".join("?" * (1 + len(more)))
    new = sql(f"insert or ignore into {table} ({names}) values ({marks}) returning 1", id, *more.values()) != []
    with WAKE:
        WAKE.notify_all()
    return new

def signature(key, id, at, body):
    return "v1," + base64.b64encode(hmac.new(key, b"%s.%s." % (id.encode(), at.encode()) + body, hashlib.sha256).digest()).decode()

def ark(method, path, id, body=b""):
    at = str(int(time.time()))
    headers = {"content-type": "application/cloudevents+json", "webhook-id": id, "webhook-timestamp": at,
               "webhook-signature": signature(KEYS[0], id, at, body)}
    with urllib.request.urlopen(urllib.request.Request(ARK + path, body or None, headers, method=method), timeout=10) as answer:
        return answer.read()

def event(kind, id, thread, data):
    return json.dumps({"specversion": "1.0", "type": kind, "id": id, "source": SOURCE + urllib.parse.quote(thread, safe=""),
                       "time": datetime.now(timezone.utc).isoformat(), "datacontenttype": "application/json",
                       "data": {"thread": thread, **data}}, ensure_ascii=False)

def said(message):
    """What a customer wrote, as parts: nothing is dropped."""
    if "file" in message:
        file = message["file"]
        query = urllib.parse.urlencode({"kind": file["kind"], "name": file["name"]})
        media = json.loads(ark("POST", "/ark/v1/media?" + query, message["id"], base64.b64decode(file["base64"])))
        return [{"kind": file["kind"], "media": media}]
    if "text" in message:
        return [{"kind": "text", "text": message["text"][at:at + 20000]} for at in range(0, len(message["text"]), 20000)]
    return [{"kind": "unsupported", "native_type": message["native"]["type"], "fallback_text": message["native"]["words"]}]

def carry_in():
    """Brings Ark what waits, in order, each until Ark has it."""
    while True:
        rows = sql("select n, id, event from ingest where done = 0 order by n limit 1")
        if not rows:
            with WAKE:
                WAKE.wait(0.2)
            continue
        try:
            result = json.loads(ark("POST", "/ark/v1/ingest", rows[0][1], rows[0][2].encode()))["results"][0]
            if result["status"] == "rejected":
                print("refused for good:", result, flush=True)
            sql("update ingest set done = 1, event = '' where n = ?", rows[0][0])
        except Exception as error:  # not taken, or not known: again, under the same id
            time.sleep(float((getattr(error, "headers", None) or {}).get("retry-after") or 0.5))

def native(entry):
    """The channel: it takes the message, or says why not. Put your provider's call here."""
    fault = next((one for one in FAULTS if one.get("thread", entry["thread"]) == entry["thread"]), {"answer": "none"})
    fault["times"] = fault.get("times", 1 << 30) - 1
    if fault["times"] == 0:
        FAULTS.remove(fault)
    if fault["answer"] in ("none", "timeout"):
        sql("insert into outbox (entry) values (?)", json.dumps(entry, ensure_ascii=False))
    return fault["answer"], fault.get("retry_after_s", 0.3)

def given(event):
    parts = event["data"]["parts"]
    return {"id": event["id"], "thread": event["data"]["thread"], "parts": [part if part["kind"] == "text" else {
        "kind": part["kind"], "sha256": hashlib.sha256(ark("GET", "/ark/v1/media/" + part["media"]["ref"][10:], event["id"])).hexdigest()}
        for part in parts]}

def carry_out():
    """Gives the channel what waits: the oldest of each thread, and of no thread that waits itself."""
    for id, thread in sql("select id, thread from send where state = 'begun'"):  # killed in between: nobody knows
        told(id, thread, {"state": "failed", "reason": {"code": "outcome_unknown", "retriable": False}})
    waits = {}
    while True:
        rows = sql("select id, thread, event from send where n in (select min(n) from send where state = 'new' group by thread)")
        due = [row for row in rows if waits.get(row[1], 0) <= time.time()]
        for id, thread, text in due:
            try:
                entry = given(json.loads(text))
            except OSError:
                waits[thread] = time.time() + 0.5
                continue
            sql("update send set state = 'begun' where id = ?", id)
            answer, pause = native(entry)
            if answer in ("429", "500"):
                waits[thread] = time.time() + pause
                sql("update send set state = 'new' where id = ?", id)
            else:
                code = {"refused": "blocked", "timeout": "outcome_unknown"}.get(answer)
                told(id, thread, {"state": "failed", "reason": {"code": code, "retriable": False}} if code else {"state": "sent"})
        if not due:
            with WAKE:
                WAKE.wait(0.1)

def told(id, thread, what):
    with LOCK:
        once("ingest", "r:" + id, event=event("ark.receipt.v1", "r:" + id, thread, {"message": id, **what}))
        sql("update send set state = 'done', event = '' where id = ?", id)

def take(event):
    if event["type"] != "ark.message.out.v1":
        return {"status": "rejected", "code": "type"}
    if any(part["kind"] not in ("text", "image") for part in event["data"]["parts"]):
        return {"status": "rejected", "code": "parts"}
    new = once("send", event["id"], thread=event["data"]["thread"], event=json.dumps(event))
    return {"status": "accepted" if new else "duplicate"}

class Handler(BaseHTTPRequestHandler):
    def answer(self, status, value):
        body = json.dumps(value, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        path, _, query = self.path.partition("?")
        known = {"/.well-known/ark-adapter": MANIFEST, "/ark/v1/health": {"status": "ok"}}
        if TESTING and path == "/outbox":
            after = int(urllib.parse.parse_qs(query).get("after", ["0"])[0])
            known[path] = [json.loads(row[0]) for row in sql("select entry from outbox order by n limit -1 offset ?", after)]
        self.answer(200 if path in known else 404, known.get(path))

    def do_POST(self):
        length = int(self.headers.get("content-length") or MIB + 1)
        hook = TESTING and self.path in ("/inject", "/fault")
        if length > (64 if hook else 1) * MIB:
            self.close_connection = True
            return self.answer(413, {"error": "at most 1 MiB"})
        body = self.rfile.read(length)
        try:
            self.answer(*(self.tested(json.loads(body)) if hook else self.events(body)))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            self.answer(400, {"error": repr(error)})

    def events(self, body):
        id, at = self.headers.get("webhook-id", ""), self.headers.get("webhook-timestamp", "")
        entries = self.headers.get("webhook-signature", "").split()
        good = [hmac.compare_digest(entry.encode(), signature(key, id, at, body).encode()) for key in KEYS for entry in entries[:16]]
        if not any(good) or not at.isdigit() or abs(time.time() - int(at)) > 300:
            return 401, {"error": "not signed by our gateway, or not now"}
        if self.path != "/ark/v1/events":
            return 404, {"error": "events are posted to /ark/v1/events"}
        return 200, {"results": [{"id": one["id"], **take(one)} for one in list(json.loads(body))]}

    def tested(self, what):
        if self.path == "/fault":
            FAULTS[:] = [] if what["answer"] == "none" else [what]
            return 200, {}
        try:
            once("ingest", what["id"], event=event("ark.message.in.v1", what["id"], what["thread"], {
                "sender": {"role": "customer", "id": what["thread"]}, "parts": said(what)}))
        except OSError:
            return 503, {"error": "the file is not kept yet: deliver it again"}
        return 200, {}

    def log_message(self, *_):
        pass

if __name__ == "__main__":
    for work in (carry_in, carry_out):
        threading.Thread(target=work, daemon=True).start()
    ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
