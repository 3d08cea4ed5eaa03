"""Requests at random: chats with every fault that the simulator knows, the other endpoints, and what is no request at all."""

import json

HEAD = "{} {} HTTP/1.1\r\nHost: soak\r\n{}\r\n"
MARKS = (
    "uncertain=1", "entropy@3=6", "entropy@15+=6", "entropy@20=6,tps=400", "entropy@25+=5,tps=200", "status=503",
    "status=429,retry-after=1", "status=400", "cut=0", "cut=1", "cut=12", "cut=30", "stall=0", "stall=1", "stall=14",
    "garbage=0", "garbage=3", "garbage=15", "error200=0", "error200=1", "error200=14", "html502", "empty", "no-logprobs",
    "no-done", "refusal", "echo", "finish=length", "finish=content_filter", "delay=400ms", "tps=100", "tokens=1",
    "tokens=300",
)
WHOSE = (("",), ("",), ("small:",), ("big:",), ("small:", "big:"), ("huge:", "big:"))
MODELS = ("auto", "auto", "auto", "lists", "lists", "pool", "eager", "big", "a/small", "gpt-9", "tiny", "", "e")
CHATS = ("/v1/chat/completions",) * 5 + (
    "/openai/v1/chat/completions", "/api/client/v1/chat/completions", "/v1/routing/explain")
PATHS = ("/health", "/health/live", "/health/ready", "/metrics", "/v1/models", "/v1/models/auto", "/v1/routing/status", "/no")
GARBAGE = (
    b"GARBAGE\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/9.9\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: soak\r\nContent-Length: 9999999999\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: soak\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
)
# name: (share of the requests that have it, values)
MEMBERS = {
    "stream": (0.6, (True,)),
    "stream_options": (0.2, ({"include_usage": True},)),
    "logprobs": (0.2, (True,)),
    "top_logprobs": (0.1, (0, 3, 20)),
    "n": (0.1, (1, 2, 3)),
    "tools": (0.1, ([{"type": "function", "function": {"name": "f", "parameters": {}}}],)),
    "temperature": (0.1, (0, 0.5, 2, 3)),
    "max_tokens": (0.1, (0, 1, 40)),
    "fallbacks": (0.05, (["huge"], ["big", "huge"])),
    "project_id": (0.05, ("p1", "p2")),
}
FIELDS = {
    "Cache-Control": (0.1, ("no-cache", "no-store")),
    "Authorization": (0.1, ("Bearer k1", "Bearer k2")),
    "X-Cache-Threshold": (0.05, ("0.5", "0.99", "x")),
    "Expect": (0.05, ("100-continue",)),
    "Connection": (0.05, ("close",)),
}


def some(choose, table):
    return {name: choose.choice(values) for name, (share, values) in table.items() if choose.random() < share}


def fields(choose, **more):
    return "".join(f"{name}: {value}\r\n" for name, value in {**some(choose, FIELDS), **more}.items())


def plain_chat(choose):
    """The same few questions again and again, so that some are answered from the cache, or together."""
    text = f"Name river {choose.randrange(9)} [[entropy=0.1]]"
    return {"model": choose.choice(("auto", "lists")), "messages": [{"role": "user", "content": text}], "stream": choose.random() < 0.5}


def chat(choose):
    question = choose.choice((f"Name river {choose.randrange(9)}", "What is a gateway?", "Grüße 🎉", "x" * choose.randrange(3000)))
    marks = [f"[[{whose}{choose.choice(MARKS)}]]" for whose in choose.choice(WHOSE) if choose.random() < 0.8]
    messages = [{"role": "user", "content": " ".join([question, *marks])}]
    if choose.random() < 0.1:
        messages.insert(0, {"role": "system", "content": "Be brief."})
    return {"model": choose.choice(MODELS), "messages": messages, **some(choose, MEMBERS)}


def posted(choose, path, body):
    return HEAD.format("POST", path, fields(choose, **{"Content-Length": len(body)})).encode() + body


def posted_in_chunks(choose, path, body):
    pieces, rest = [], body
    while rest:
        size = choose.randrange(1, 400)
        pieces.append(b"%x\r\n%b\r\n" % (len(rest[:size]), rest[:size]))
        rest = rest[size:]
    head = HEAD.format("POST", path, fields(choose, **{"Transfer-Encoding": "chunked"}))
    return head.encode() + b"".join(pieces) + b"0\r\n\r\n"


def a_chat(choose):
    body = json.dumps(plain_chat(choose) if choose.random() < 0.3 else chat(choose)).encode()
    what = choose.random()
    if what < 0.05:
        at = choose.randrange(len(body))
        body = body[:at] + bytes([choose.randrange(256)]) + body[at + 1:]
    elif what < 0.1:
        # Long enough to be read by another thread, or to be refused.
        body = body[:-1] + b', "pad": "%b"}' % (b"y" * choose.choice((200000, 2000000, 4000000)))
    post = posted_in_chunks if choose.random() < 0.05 else posted
    return post(choose, choose.choice(CHATS), body)


def an_embedding(choose):
    body = {"model": choose.choice(("e", "a/e", "big")), "input": choose.choice(("a", ["a", "b"], [1, 2], ""))}
    return posted(choose, "/v1/embeddings", json.dumps(body).encode())


def a_look(choose):
    return HEAD.format(choose.choice(("GET", "GET", "GET", "HEAD", "PUT")), choose.choice(PATHS), "").encode()


def request(choose):
    """The bytes of one request."""
    what = choose.random()
    if what < 0.75:
        return a_chat(choose)
    if what < 0.83:
        return an_embedding(choose)
    if what < 0.94:
        return a_look(choose)
    if what < 0.97:
        return HEAD.format("DELETE", "/v1/cache", "").encode()
    return choose.choice(GARBAGE)
