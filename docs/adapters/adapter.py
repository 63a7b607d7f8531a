#!/usr/bin/env python3
"""A whole Ark adapter in the standard library: what customers write in a channel goes to Ark, what Ark says goes to the channel.

  ARK=http://127.0.0.1:8080/hooks/shop SECRET=whsec_... PORT=9000 DB=adapter.db CHANNEL=http://127.0.0.1:9001 TOKEN=... python3 adapter.py

This file is yours: the manifest, said(), send() and how your channel proves that its webhook is its own; channel.py stands for one. What is
the same for every channel is ark.py. What a customer writes is on the disk before the channel hears 200.
"""
import base64, hmac, json, os
from urllib import error, parse, request

import ark

CHANNEL, TOKEN = os.environ["CHANNEL"], "Bearer " + os.environ["TOKEN"]
MANIFEST = {
    "ark_adapter": "1", "id": "sample-python", "version": "2.1.0", "channel": "sample", "ordering": "per_thread", "limits": {},
    "transport": {"mode": "http", "url": f"http://127.0.0.1:{ark.PORT}", "max_batch": 1}, "identity": {"key_kinds": ["custom"]},
    "capabilities": {"text": {"in": True, "out": True}, "image": {"in": True, "out": True, "fallback": "text"}},
    "dedup": {"inbound_id": "native", "outbound_key_ttl_s": 259200}}
if os.environ.get("ARK_TESTING") == "1":
    MANIFEST["testing"] = {hook: f"{CHANNEL}/{hook}" for hook in ("inject", "outbox", "fault")}

def said(message):
    """What a customer wrote, as parts: nothing is dropped."""
    if file := message.get("file"):
        where = "/ark/v1/media?" + parse.urlencode({"kind": file["kind"], "name": file["name"]})
        return [{"kind": file["kind"], "media": json.loads(ark.ask(where, message["id"], base64.b64decode(file["base64"])))}]
    if text := message.get("text"):
        return [{"kind": "text", "text": text[at:at + 20000]} for at in range(0, len(text), 20000)]
    return [{"kind": "unsupported", "native_type": message["native"]["type"], "fallback_text": message["native"]["words"]}]

def webhook(headers, body):
    """The channel brings what a customer wrote."""
    if not hmac.compare_digest(headers.get("authorization", ""), TOKEN):
        return 401, "not from the channel"
    message = json.loads(body)
    sender = {"role": "customer", "id": message["thread"]}
    ark.put("m:" + message["id"], "ark.message.in.v1", message["thread"], sender=sender, parts=said(message))
    return 200, "it is on the disk"

def send(id, thread, parts):
    """The channel's API. None: it took the message; a code: it never will, or nobody knows; raises NotNow: it did not take it."""
    body = json.dumps({"id": id, "thread": thread, "parts": parts}).encode()
    try:
        request.urlopen(request.Request(CHANNEL + "/send", body, {"authorization": TOKEN}), timeout=5).close()
    except error.HTTPError as no:
        if no.code == 429 or no.code >= 500:
            raise ark.NotNow(no.headers.get("retry-after", "1"))
        return "blocked"
    except OSError:
        return "outcome_unknown"

ark.serve(MANIFEST, send, webhook)
