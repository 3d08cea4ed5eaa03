"""How each fault of the table is staged: the model's host, and what it does with a request."""

import socket
import threading

from cells import HOSTS
from lib import frames as f
from lib import scripts
from lib.gateway import SLOW, WAIT

DRAFT = "The draft says that it is Paris, surely."
ANSWER = "It is Paris, the capital."
EARLY, WINDOW = 3, 2  # early_exit_count and window_size: how soon a draft flows, and how much of it is held back
SHOWN = "".join(f.tokens_of(DRAFT)[:-WINDOW])  # of a draft whose verdict is still open

SHORT_MS = int(300 * SLOW)  # the timeouts that are waited for
LONG_MS = int(10000 + 1000 * SLOW)
HANG_MS = 4 * SHORT_MS

TIMEOUTS = {"stall_before_head": "first_byte_timeout", "stall_in_body": "idle_timeout",
            "connect_hang": "connect_timeout", "dns_hang": "connect_timeout"}

HEADERS = {
    "status_409_retry": [("x-should-retry", "true")],
    "status_503_no_retry": [("x-should-retry", "false")],
    "status_429_retry_after": [("Retry-After", "1")],
    "status_429_retry_after_ms": [("Retry-After", "1"), ("retry-after-ms", "150")],
    "status_503_retry_after": [("Retry-After", "1")],
}
ERROR = {"error": {"message": "the model is on holiday", "type": "scripted", "param": None, "code": None}}
# Spelled as no writer of ours would, so that it shows when it is not passed on as it is.
REFUSAL = b'{ "error": {"message":"scripted \\u00e9","type":"scripted",  "param":"messages","code":"x"} }'
GARBAGE = b'{"id":"x",'


class NoTls:
    """A port where each TLS handshake is refused by an alert."""

    ALERT = b"\x15\x03\x03\x00\x02\x02\x28"  # fatal: handshake_failure

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while True:
            try:
                sock = self._listener.accept()[0]
            except OSError:
                return
            with sock:
                sock.settimeout(WAIT)
                try:
                    sock.recv(65536)
                    sock.sendall(self.ALERT)
                except OSError:
                    pass

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(WAIT)


class Hosts:
    """The model servers of the matrix. `sound` speaks for models that do not fail, `faulty` for those that
    do and for no others: none of its connections is used twice, so that libcurl cannot take a fault for a
    connection gone stale, and try again by itself."""

    def __init__(self, sound, faulty):
        self.tls = NoTls()
        self.full = scripts.FullBacklog()
        self.refusing, self._keeper = scripts.refusing_port()
        self.urls = {
            "sound": sound.url("/v1"),
            "faulty": faulty.url("/v1"),
            "refused": f"http://127.0.0.1:{self.refusing}/v1",
            "connect_hang": f"http://127.0.0.1:{self.full.port}/v1",
            "tls_failure": f"https://127.0.0.1:{self.tls.port}/v1",
            "dns_failure": f"http://model.gone.test:{faulty.port}/v1",
            "dns_hang": f"http://model.hang.test:{faulty.port}/v1",
        }

    def providers(self, retries):
        """A provider for each host, and one for each timeout that is waited for."""
        names = [*self.urls, *(name for name in TIMEOUTS if name not in self.urls)]
        return {name: self._provider(name, retries) for name in names}

    def _provider(self, name, retries):
        provider = {key: f"{LONG_MS}ms" for key in ("connect_timeout", "first_byte_timeout", "idle_timeout")}
        if name in TIMEOUTS:
            provider[TIMEOUTS[name]] = f"{SHORT_MS}ms"
        return {"base_url": self.urls.get(name, self.urls["faulty"]), "retries": retries, **provider}

    def close(self):
        self.tls.close()
        self.full.close()
        self._keeper.close()


def provider_of(fault):
    """Which provider serves a model that has this fault."""
    return fault.name if fault.name in HOSTS or fault.name in TIMEOUTS else "faulty"


# What a model server says to a request of a cell


def script_of(fault, role, streamed, late, outcome, gate):
    """The script of a failing model. late: the fault comes once the gate is open, which the client does when it has
    got what it can get."""
    if fault.name.startswith("status_") and fault.name != "status_200":
        script = status_script(fault)
    elif role == "drafter" or streamed:
        script = stream_script(fault, role, late, outcome, gate)
    else:
        script = whole_script(fault)
    return closing(script)


def sound_script(role):
    speak = scripts.confident if role == "drafter" else scripts.expert
    return speak(DRAFT if role == "drafter" else ANSWER)


def unsure_script():
    return scripts.uncertain()


def once(script, others):
    """The first request is answered by script, the others by others."""
    asked = []

    def run(exchange):
        asked.append(exchange)
        (script if len(asked) == 1 else others)(exchange)

    return run


def closing(script):
    """The script, its connection closed after the answer, which says so."""

    def run(exchange):
        send = exchange.raw

        def raw(data):
            if data.startswith(b"HTTP/1.1 "):
                line, rest = data.split(b"\r\n", 1)
                data = line + b"\r\nConnection: close\r\n" + rest
            send(data)

        exchange.raw = raw
        script(exchange)
        if not exchange.connection.closed.is_set():
            exchange.cut()

    return run


def status_script(fault):
    status = int(fault.name.split("_")[1])
    if fault.name.endswith("_html"):
        return scripts.reply(status, scripts.HTML_502, "text/html")
    body = REFUSAL if status in (400, 413, 422) else f.dump(ERROR)
    return scripts.reply(status, body, headers=HEADERS.get(fault.name, ()))


def stream_script(fault, role, late, outcome, gate):
    name = fault.name
    draft = role == "drafter"
    head = f.head(id="chatcmpl-draft" if draft else "chatcmpl-heavy")
    text = DRAFT if draft else ANSWER
    pairs = [(token, 0.1) for token in f.tokens_of(text)]
    whole = outcome in ("accepts", "answers")  # nothing that counts is missing
    if name == "empty_answer":
        pairs = []
    elif not whole and not late:
        pairs = pairs[: EARLY - 1] if draft else []  # so little that nothing of it may be delivered
    finishes = name == "empty_answer" or whole and name != "done_without_finish"
    begin = f.text_frames(pairs, finish=None, logprobs=draft, head=head)

    if name == "reset_before_head":
        return scripts.reset
    if name == "closed_before_head":
        return scripts.cut
    if name == "stall_before_head":
        return scripts.stall
    if name == "json_for_stream":
        entries = [f.token(token, bits) for token, bits in pairs] if draft else f.ABSENT
        return scripts.reply(200, f.completion(text, head=head, entries=entries))

    def script(exchange):
        if name.startswith("wrong_length"):
            exchange.head(headers=[("Content-Length", "100000")], chunked=False)
        else:
            exchange.head()
        exchange.frames(begin, done=False)
        if late:
            exchange.wait(gate)
        if finishes:
            exchange.write(f.event(f.chunk({}, finish="stop", head=head)))
        end_stream(exchange, name)

    return script


def end_stream(exchange, name):
    """What a stream of this fault does last."""
    if name == "reset_in_body":
        exchange.reset()
    elif name == "closed_in_body" or name.startswith("wrong_length"):
        exchange.cut()
    elif name in ("stall_in_body", "stall_after_finish"):
        exchange.stall()
    elif name.startswith("truncated_chunk"):
        exchange.raw(b"ff\r\ndata: ")
        exchange.cut()
    elif name in ("garbage_frame", "error_frame"):
        exchange.write(f.event(GARBAGE if name == "garbage_frame" else ERROR))
        exchange.stall()
    elif name == "no_done":
        exchange.end()
    else:
        assert name in ("status_200", "empty_answer", "done_without_finish"), name
        exchange.write(f.DONE)
        exchange.end()


def whole_script(fault):
    """The faults of a heavyweight that was asked for JSON."""
    name = fault.name
    body = f.dump(f.completion("" if name == "empty_answer" else ANSWER, head=f.head(id="chatcmpl-heavy")))
    half = body[: len(body) // 2]

    def begin(exchange):
        exchange.head(content_type="application/json")
        exchange.write(half)

    def script(exchange):
        if name in ("status_200", "empty_answer"):
            exchange.reply(200, body)
        elif name == "reset_before_head":
            exchange.reset()
        elif name == "closed_before_head":
            exchange.cut()
        elif name == "stall_before_head":
            exchange.stall()
        elif name == "reset_in_body":
            begin(exchange)
            exchange.reset()
        elif name == "closed_in_body":
            begin(exchange)
            exchange.cut()
        elif name == "stall_in_body":
            begin(exchange)
            exchange.stall()
        elif name == "wrong_length":
            exchange.head(content_type="application/json", headers=[("Content-Length", str(len(body) + 10))], chunked=False)
            exchange.write(body)
            exchange.cut()
        elif name == "truncated_chunk":
            begin(exchange)
            exchange.raw(b"ffff\r\n" + body[len(half):])
            exchange.cut()
        elif name in ("garbage_frame", "error_frame"):
            exchange.reply(200, GARBAGE if name == "garbage_frame" else ERROR)
        else:
            assert name == "stream_for_json", name
            exchange.head()
            exchange.frames(f.text_frames([(token, 0.1) for token in f.tokens_of(ANSWER)], logprobs=False))
            exchange.end()

    return script
