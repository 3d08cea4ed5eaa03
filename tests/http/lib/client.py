"""A raw HTTP/1.1 client: says exactly the bytes it is given and reads answers strictly."""

import json
import socket
import struct
import time

WAIT = 20


class Cut(Exception):
    """The connection ended where more was due."""


def _no_duplicates(pairs):
    names = [name for name, _ in pairs]
    assert len(set(names)) == len(names), f"a member stands twice: {names}"
    return dict(pairs)


def strict_json(text):
    """Parses JSON as strictly as the standard has it: no member twice, no NaN."""

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=refuse)


class Head:
    def __init__(self, raw):
        self.raw = raw
        first, *lines = raw.decode("latin-1").split("\r\n")
        self.version, status, *reason = first.split(" ", 2)
        self.reason = reason[0] if reason else ""
        assert self.version in ("HTTP/1.1", "HTTP/1.0"), first
        self.status = int(status)
        self.headers = []
        for line in lines:
            name, colon, value = line.partition(":")
            assert colon and name and not name.startswith((" ", "\t")), f"bad header line {line!r}"
            self.headers.append((name, value.strip()))

    def header(self, name):
        """The header's value, or None; it must not stand twice."""
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(found) < 2, f"{name} stands {len(found)} times"
        return found[0] if found else None

    def names(self):
        return [name.lower() for name, _ in self.headers]


class Response(Head):
    """A whole response. complete: its framing said that it was."""

    def __init__(self, head, body, complete):
        super().__init__(head.raw)
        self.body = body
        self.complete = complete

    def json(self):
        assert (self.header("Content-Type") or "").startswith("application/json"), self.headers
        return strict_json(self.body)

    @property
    def message(self):
        return self.json()["choices"][0]["message"]

    @property
    def text(self):
        return self.message["content"]

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:600]!r}>"


class Client:
    """One connection to the gateway."""

    def __init__(self, address, timeout=WAIT):
        self.address = address
        self.timeout = timeout
        self.sock = socket.create_connection(address, timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self._eof = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # Saying

    def send(self, data):
        self.sock.sendall(data)

    def begin(self, method, path, body=None, headers=(), version="HTTP/1.1"):
        """Sends a request and does not wait for the answer."""
        lines = [f"{method} {path} {version}", f"Host: {self.address[0]}:{self.address[1]}"]
        names = {name.lower() for name, _ in headers}
        if body is not None:
            if not isinstance(body, bytes):
                body = json.dumps(body).encode()
            if "content-type" not in names:
                lines.append("Content-Type: application/json")
            if "content-length" not in names and "transfer-encoding" not in names:
                lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name}: {value}" for name, value in headers]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b""))

    # Hearing

    def _fill(self, deadline):
        """Reads more into the buffer. False at the end of the connection."""
        if self._eof:
            return False
        left = deadline - time.monotonic()
        if left <= 0:
            raise AssertionError(f"nothing came within {self.timeout} s; so far {bytes(self._buffer[:500])!r}")
        self.sock.settimeout(left)
        try:
            data = self.sock.recv(262144)
        except socket.timeout:
            raise AssertionError(f"nothing came in time; so far {bytes(self._buffer[:500])!r}") from None
        except ConnectionError:
            data = b""
        if not data:
            self._eof = True
            return False
        self._buffer += data
        return True

    def _until(self, mark, deadline):
        while True:
            at = self._buffer.find(mark)
            if at >= 0:
                found = bytes(self._buffer[:at])
                del self._buffer[: at + len(mark)]
                return found
            if not self._fill(deadline):
                raise Cut(f"the connection ended before {mark!r}: {bytes(self._buffer[:500])!r}")

    def _exactly(self, count, deadline):
        while len(self._buffer) < count:
            if not self._fill(deadline):
                raise Cut(f"{count - len(self._buffer)} bytes are missing")
        found = bytes(self._buffer[:count])
        del self._buffer[:count]
        return found

    def read_head(self, timeout=None):
        """The next response head, interim ones skipped."""
        deadline = time.monotonic() + (timeout or self.timeout)
        while True:
            head = Head(self._until(b"\r\n\r\n", deadline))
            if head.status >= 200:
                return head

    def pieces(self, head, method="POST", timeout=None):
        """The body's pieces as they come; raises Cut where the framing says that more was due."""
        timeout = timeout or self.timeout
        length, coding = head.header("Content-Length"), head.header("Transfer-Encoding")
        assert length is None or coding is None, "both Content-Length and Transfer-Encoding"
        if method == "HEAD" or head.status in (204, 304):
            return
        if coding is not None:
            assert coding == "chunked" and head.version == "HTTP/1.1", (coding, head.version)
            while True:
                size = int(self._until(b"\r\n", time.monotonic() + timeout), 16)
                data = self._exactly(size + 2, time.monotonic() + timeout)
                assert data[-2:] == b"\r\n", data[-20:]
                if size == 0:
                    return
                yield data[:-2]
        elif length is not None:
            left = int(length)
            while left > 0:
                if not self._buffer and not self._fill(time.monotonic() + timeout):
                    raise Cut(f"{left} bytes of the body are missing")
                data = bytes(self._buffer[:left])
                del self._buffer[: len(data)]
                left -= len(data)
                yield data
        else:
            while True:
                if self._buffer:
                    data = bytes(self._buffer)
                    self._buffer.clear()
                    yield data
                if not self._fill(time.monotonic() + timeout):
                    return

    def read_response(self, method="POST", timeout=None):
        """A whole response; Cut is noted in `complete`, not raised."""
        head = self.read_head(timeout)
        body, complete = bytearray(), True
        try:
            for piece in self.pieces(head, method, timeout):
                body += piece
        except Cut:
            complete = False
        return Response(head, bytes(body), complete)

    def request(self, method, path, body=None, headers=(), timeout=None):
        """One request and its whole answer; the connection can be used again."""
        self.begin(method, path, body, headers)
        return self.read_response(method, timeout)

    def stream(self, timeout=None):
        """The answer to what was sent, as a stream of events; it must be one."""
        head = self.read_head(timeout)
        return EventStream(self, head, timeout)

    def read_to_end(self, timeout=None):
        """All that still comes until the peer closes, which it must."""
        deadline = time.monotonic() + (timeout or self.timeout)
        while self._fill(deadline):
            pass
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    # Leaving

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def close(self):
        """Closes; returns when (monotonic)."""
        at = time.monotonic()
        self.sock.close()
        return at

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return self.close()


class EventStream:
    """A streamed answer, read event by event.

    items: ("data" | "comment" | "other", text, time) in order. complete: the last chunk was seen.
    """

    def __init__(self, client, head, timeout=None):
        self.head = head
        self.client = client
        self.items = []
        self.raw = bytearray()
        self.ended = False
        self.complete = False
        assert head.status == 200, Response(head, b"".join(client.pieces(head)), True)
        assert head.header("Content-Type").startswith("text/event-stream"), head.headers
        self._pieces = client.pieces(head, timeout=timeout)
        self._rest = b""
        self._seen = 0

    def _more(self):
        try:
            piece = next(self._pieces)
        except StopIteration:
            self.ended, self.complete = True, True
        except Cut:
            self.ended = True
        else:
            self.raw += piece
            *blocks, self._rest = (self._rest + piece).split(b"\n\n")
            now = time.monotonic()
            self.items += [(*self._read(block), now) for block in blocks]

    @staticmethod
    def _read(block):
        text = block.decode("utf-8", "surrogatepass")
        if text.startswith("data: ") and "\n" not in text:
            return "data", text[6:]
        if text.startswith(":"):
            return "comment", text
        return "other", text

    def next(self):
        """The next event as (kind, text, time); None at the end."""
        while len(self.items) <= self._seen and not self.ended:
            self._more()
        if len(self.items) <= self._seen:
            return None
        self._seen += 1
        return self.items[self._seen - 1]

    def next_frame(self):
        """The next data event as an object; "[DONE]" as it stands; None at the end."""
        while (item := self.next()) is not None:
            if item[0] == "data":
                return item[1] if item[1] == "[DONE]" else strict_json(item[1])
        return None

    def read(self):
        """Reads to the end."""
        while self.next() is not None:
            pass
        assert self._rest == b"", f"an unfinished event at the end: {self._rest!r}"
        return self

    # What was read so far

    @property
    def data(self):
        return [text for kind, text, _ in self.items if kind == "data"]

    @property
    def frames(self):
        return [strict_json(text) for text in self.data if text != "[DONE]"]

    @property
    def comments(self):
        return [text for kind, text, _ in self.items if kind == "comment"]

    @property
    def done(self):
        """[DONE] was said, once, and as the last thing."""
        assert self.data.count("[DONE]") <= 1
        return bool(self.items) and self.items[-1][:2] == ("data", "[DONE]")

    @property
    def text(self):
        return "".join(
            choice["delta"].get("content") or "" for frame in self.frames for choice in frame.get("choices", [])
        )

    @property
    def error(self):
        found = [frame["error"] for frame in self.frames if "error" in frame]
        assert len(found) <= 1
        return found[0] if found else None

    @property
    def routing(self):
        """The members of the trailing comment."""
        found = [c for c in self.comments if c.startswith(": routing ")]
        assert len(found) == 1, self.items
        return dict(pair.split("=", 1) for pair in found[0][len(": routing ") :].split(" "))
