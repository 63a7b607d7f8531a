#!/usr/bin/env python3
"""A whole Ark adapter over RabbitMQ (needs pika): what a customer's app posts goes to Ark, what Ark says goes to the app.

  AMQP=amqp://ark-shop:PASSWORD@127.0.0.1:5672/ark ACCOUNT=shop PORT=9000 DB=adapter.db python3 adapter_amqp.py
  curl -d '{"thread": "t1", "id": "m1", "text": "hello"}' http://127.0.0.1:9000/inject;   curl http://127.0.0.1:9000/outbox

native() is the app: put your channel's call there. /inject stands for your channel's webhook, /outbox for your customers' screens.
What came is on the disk before it is acknowledged, both ways, so that nothing is lost or doubled whenever this process dies.
"""
import json, os, sqlite3, threading, time, urllib.parse
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import pika

ACCOUNT, URL = os.environ["ACCOUNT"], pika.URLParameters(os.environ["AMQP"])
SOURCE, USER, LOCK = f"/ark/main/amqp/{ACCOUNT}/", URL.credentials.username, threading.RLock()
DB = sqlite3.connect(os.environ["DB"], check_same_thread=False, isolation_level=None)
DB.executescript("""pragma journal_mode = wal; pragma synchronous = full;
create table if not exists ingest (n integer primary key, id text unique, event text);
create table if not exists send (n integer primary key, id text unique, event text, state text default 'new');
create table if not exists outbox (n integer primary key, entry text);""")

def sql(text, *values):
    with LOCK:
        return DB.execute(text, values).fetchall()

def event(kind, id, thread, data):
    return json.dumps({"specversion": "1.0", "type": kind, "id": id, "source": SOURCE + urllib.parse.quote(thread, safe=""),
                       "time": datetime.now(timezone.utc).isoformat(), "datacontenttype": "application/json",
                       "data": {"thread": thread, **data}}, ensure_ascii=False)

def said(message):
    """What a customer wrote, as parts: what cannot be translated is `unsupported`, nothing is dropped."""
    if "text" in message:
        return [{"kind": "text", "text": message["text"][at:at + 20000]} for at in range(0, len(message["text"]), 20000)]
    return [{"kind": "unsupported", "native_type": message["native"]["type"], "fallback_text": message["native"]["words"]}]

def native(thread, parts):
    """The channel: it takes the message, or says by a code why it never will. Put your provider's call here."""
    sql("insert into outbox (entry) values (?)", json.dumps({"thread": thread, "parts": parts}, ensure_ascii=False))

def carry_out():
    """Gives the channel what waits, in order; what a kill left half done is an outcome that nobody knows."""
    for id, text in sql("select id, event from send where state = 'begun'"):
        told(id, json.loads(text)["data"]["thread"], "outcome_unknown")
    for id, text in sql("select id, event from send where state = 'new' order by n"):
        data = json.loads(text)["data"]
        if any(part["kind"] != "text" for part in data["parts"]):
            told(id, data["thread"], "parts")
            continue
        sql("update send set state = 'begun' where id = ?", id)
        told(id, data["thread"], native(data["thread"], data["parts"]))

def told(id, thread, code):
    what = {"state": "failed", "reason": {"code": code, "retriable": False}} if code else {"state": "sent"}
    with LOCK:
        DB.execute("begin")
        sql("insert or ignore into ingest (id, event) values (?, ?)", "r:" + id, event("ark.receipt.v1", "r:" + id, thread, {"message": id, **what}))
        sql("update send set state = 'done', event = '' where id = ?", id)
        DB.execute("commit")

def carry_in(channel):
    """Brings the broker what waits, in order, each until the broker has it on its disks."""
    for n, id, text in sql("select n, id, event from ingest where event != '' order by n limit 100"):
        properties = pika.BasicProperties(user_id=USER, message_id=id, delivery_mode=2, content_type="application/cloudevents+json")
        channel.basic_publish("ark.in", "", text.encode(), properties, mandatory=True)  # raises until it is confirmed
        sql("update ingest set event = '' where n = ?", n)

def taken(channel, method, properties, body):
    if properties.type == "ark.message.out.v1":
        sql("insert or ignore into send (id, event) values (?, ?)", properties.message_id, body.decode())
    channel.basic_ack(method.delivery_tag)

def serve():
    while True:
        try:
            channel = pika.BlockingConnection(URL).channel()
            channel.confirm_delivery()
            channel.basic_qos(prefetch_count=32)
            channel.basic_consume(f"ark.out.{ACCOUNT}", taken)
            while True:
                channel.connection.process_data_events(time_limit=0.1)
                carry_out()
                carry_in(channel)
        except pika.exceptions.AMQPError as error:  # away, full, or it did not answer: again, under the same ids
            print("the broker:", repr(error), flush=True)
            time.sleep(1)

class App(BaseHTTPRequestHandler):
    def answer(self, value):
        body = json.dumps(value, ensure_ascii=False).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer([json.loads(row[0]) for row in sql("select entry from outbox order by n")])

    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        data = {"sender": {"role": "customer", "id": message["thread"]}, "parts": said(message)}
        written = event("ark.message.in.v1", message["id"], message["thread"], data)
        sql("insert or ignore into ingest (id, event) values (?, ?)", message["id"], written)
        self.answer({})  # it is on the disk: the app may forget it

    def log_message(self, *_):
        pass

if __name__ == "__main__":
    threading.Thread(target=ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), App).serve_forever, daemon=True).start()
    serve()
