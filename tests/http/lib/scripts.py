"""Scripts for Upstream.on(): what a model server does with one request, well and badly."""

import socket

from . import frames as f


def words(text, bits=0.1):
    """The text as (token, bits) pairs. bits: one number for all, or one for each token."""
    parts = f.tokens_of(text)
    each = bits if isinstance(bits, (list, tuple)) else [bits] * len(parts)
    assert len(each) == len(parts), (parts, each)
    return list(zip(parts, each))


def speak(text="Paris is the capital.", bits=0.1, *, finish="stop", usage=None, head=None, tokens=None):
    """An honest server: streams if asked, sends logprobs if asked, usage if asked.

    tokens: (text, bits) pairs instead of text and bits.
    """
    pairs = tokens if tokens is not None else words(text, bits)
    said = "".join(part for part, _ in pairs)
    counts = usage or f.usage(11, len(pairs))

    def script(exchange):
        body = exchange.request.json
        k = body.get("top_logprobs") or 0
        if not body.get("stream"):
            entries = [f.token(t, b, max(k, 1)) for t, b in pairs] if body.get("logprobs") else f.ABSENT
            exchange.reply(200, f.completion(said, finish=finish, usage=counts, head=head, entries=entries))
            return
        asked = (body.get("stream_options") or {}).get("include_usage")
        exchange.head()
        exchange.frames(
            f.text_frames(
                pairs,
                finish=finish,
                k=max(k, 1),
                logprobs=bool(body.get("logprobs")),
                usage=counts if asked else f.ABSENT,
                head=head,
            )
        )
        exchange.end()

    return script


def confident(text="Paris is the capital.", **options):
    return speak(text, 0.1, head=f.head(id="chatcmpl-draft", model="small-1-0613"), **options)


def uncertain(text="DRAFTED Rome, perhaps, or not.", **options):
    return speak(text, 4.0, head=f.head(id="chatcmpl-draft", model="small-1-0613"), **options)


def expert(text="It is Paris.", **options):
    return speak(text, 0.1, head=f.head(id="chatcmpl-heavy", model="large-1-0613"), **options)


def calls_tools(calls, *, logprobs=False, bits=0.1, usage=None, head=None):
    """Answers with tool calls: (id, name, arguments) each."""

    def script(exchange):
        body = exchange.request.json
        counts = usage or f.usage(20, 9)
        if not body.get("stream"):
            exchange.reply(
                200, f.completion(finish="tool_calls", usage=counts, head=head, tool_calls=calls)
            )
            return
        asked = (body.get("stream_options") or {}).get("include_usage")
        exchange.head()
        exchange.frames(
            f.tool_frames(calls, logprobs=logprobs, bits=bits, head=head, usage=counts if asked else f.ABSENT)
        )
        exchange.end()

    return script


def frames(*payloads, done=True):
    """A stream of just these payloads."""

    def script(exchange):
        exchange.head()
        exchange.frames(payloads, done=done)
        exchange.end()

    return script


def body(data, content_type="text/event-stream", status=200, pieces=None, headers=()):
    """A chunked response with these bytes as its body; pieces: cut into parts of so many bytes."""

    def script(exchange):
        exchange.head(status, content_type, headers)
        size = pieces or len(data) or 1
        for at in range(0, len(data), size):
            exchange.write(data[at : at + size])
        exchange.end()

    return script


def reply(status, payload, content_type="application/json", headers=()):
    def script(exchange):
        exchange.reply(status, payload, content_type, headers)

    return script


def failure(status, message="scripted failure", headers=(), **members):
    error = {"message": message, "type": "scripted", "param": None, "code": None, **members}
    return reply(status, {"error": error}, headers=headers)


def raw(data, close=True):
    """These bytes, whatever they are, and then the end of the connection."""

    def script(exchange):
        exchange.raw(data)
        exchange.cut() if close else exchange.stall()

    return script


def stall(exchange):
    exchange.stall()


def cut(exchange):
    exchange.cut()


def reset(exchange):
    exchange.reset()


def after(payloads, ending):
    """A stream that says these frames and then ends by ending(exchange): cut, reset, stall, …"""

    def script(exchange):
        exchange.head()
        exchange.frames(payloads, done=False)
        ending(exchange)

    return script


HTML_502 = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"

# The ways a model server can fail before it has said anything worth reading; each is a script for a
# request with `stream: true`. Timeouts are apart: they need a gateway with short ones.
PART = f.text_frames([("DRAFTED", 0.1), (" half", 0.1)], finish=None)

FAILURES = {
    "status_400": failure(400),
    "status_401": failure(401),
    "status_403": failure(403),
    "status_404": failure(404),
    "status_408": failure(408),
    "status_409": failure(409),
    "status_413": failure(413),
    "status_422": failure(422),
    "status_429": failure(429, headers=[("Retry-After", "7")]),
    "status_500": failure(500),
    "status_503": failure(503),
    "status_529": failure(529),
    "status_502_html": reply(502, HTML_502, "text/html"),
    "status_200_html": reply(200, b"<html>DRAFTED hello</html>", "text/html"),
    "status_204": raw(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"),
    "status_302": raw(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
    "closed_before_head": cut,
    "reset_before_head": reset,
    "garbage_for_head": raw(b"\x16\x03\x01\x02\x00 not a server\r\n\r\n"),
    "cut_in_head": raw(b"HTTP/1.1 200 OK\r\nContent-Ty"),
    "head_then_closed": after([], cut),
    "head_then_reset": after([], reset),
    "cut_stream": after(PART, cut),
    "reset_stream": after(PART, reset),
    "ended_without_finish": frames(*PART, done=False),
    "truncated_event": body(f.event(PART[0]) + f.event(PART[1])[:40]),
    "short_content_length": raw(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 100000\r\n\r\n" + f.event(PART[1])
    ),
    "bad_chunk_size": raw(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nDRAFTED"
    ),
    "malformed_first_frame": frames(b'{"id":"x","choices":[', *PART),
    "malformed_later_frame": frames(*PART, b"{DRAFTED}"),
    "frame_not_an_object": frames(*PART, b"[1,2]"),
    "choices_not_an_array": frames(*PART, b'{"choices":{}}'),
    "invalid_utf8_frame": frames(*PART, b'{"choices":[{"index":0,"delta":{"content":"\xff"}}]}'),
    "error_frame_first": frames({"error": {"message": "DRAFTED overloaded", "type": "server_error"}}),
    "error_frame_later": frames(*PART, {"error": {"message": "overloaded", "type": "server_error"}}),
    "error_in_200_json": reply(200, {"error": {"message": "DRAFTED no", "type": "server_error"}}),
    "garbage_in_200_json": reply(200, b"{DRAFTED"),
    "empty_json": reply(200, b""),
    "empty_stream": frames(),
    "no_output": frames(*f.text_frames([], usage=f.usage(5, 0))),
    "only_comments": body(b": hello\n\n: DRAFTED\n\n"),
}


def refusing_port():
    """A port on which nobody listens, and the socket that keeps others off it."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock.getsockname()[1], sock


class FullBacklog:
    """A port that takes no more connections: a connect() to it hangs."""

    def __init__(self):
        self._sock = socket.socket()
        self._sock.bind(("127.0.0.1", 0))
        self._sock.listen(0)
        self.port = self._sock.getsockname()[1]
        self._fill = []
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", self.port))
            self._fill.append(client)

    def close(self):
        for sock in [*self._fill, self._sock]:
            sock.close()
