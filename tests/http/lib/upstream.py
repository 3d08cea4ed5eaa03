"""A scripted model server on a free loopback port, down to the single byte.

One thread reads all sockets, so the times at which a peer closed are its own and exact; each request
is answered by its script on a thread of its own. What a script sees and does is an Exchange.
"""

import json
import queue
import selectors
import socket
import struct
import threading
import time

from .frames import DONE, dump, event

WAIT = 20  # seconds after which a wait has failed, whatever it waits for


class Gone(Exception):
    """The peer closed the connection while a script was writing to it."""


class Request:
    def __init__(self, method, path, headers, body, raw_head, at):
        self.method = method
        self.path = path
        self.headers = headers  # list of (name, value) as they came
        self.body = body
        self.raw_head = raw_head
        self.at = at  # monotonic time of its last byte
        try:
            self.json = json.loads(body) if body else None
        except ValueError:
            self.json = None

    def header(self, name):
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(found) < 2, f"{name} stands {len(found)} times"
        return found[0] if found else None

    @property
    def model(self):
        return self.json.get("model") if isinstance(self.json, dict) else None


class Connection:
    """One accepted connection; `closed` is set when the peer closes it, with the time in closed_at."""

    def __init__(self, upstream, sock):
        self.upstream = upstream
        self.sock = sock
        self.opened_at = time.monotonic()
        self.closed_at = None
        self.was_reset = False
        self.closed = threading.Event()
        self.requests = []
        self.busy = False  # a script is running
        self.inbox = queue.SimpleQueue()
        self._buffer = bytearray()
        self._thread = None

    # The reading side: only the upstream's thread.

    def on_readable(self):
        try:
            data = self.sock.recv(262144)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
            self.was_reset = True
        if not data:
            self.on_closed()
            return
        self._buffer += data
        while True:
            request = self._parse()
            if request is None:
                break
            self.busy = True
            self.requests.append(request)
            self.inbox.put((request, self.upstream.note_request(request)))
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, daemon=True)
                self._thread.start()

    def on_closed(self):
        if self.closed.is_set():
            return
        self.closed_at = time.monotonic()
        self.upstream.forget(self)
        self.closed.set()
        self.inbox.put(None)
        if not self.busy:
            self.sock.close()
        self.upstream.note_closed()

    def _parse(self):
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        raw_head = bytes(self._buffer[: end + 4])
        first, *lines = raw_head[:-4].decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ")
        headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines]
        lower = {name.lower(): value for name, value in headers}
        assert "transfer-encoding" not in lower, "the gateway knows its body's length"
        length = int(lower.get("content-length", "0"))
        if len(self._buffer) < end + 4 + length:
            return None
        body = bytes(self._buffer[end + 4 : end + 4 + length])
        del self._buffer[: end + 4 + length]
        return Request(method, path, headers, body, raw_head, time.monotonic())

    # The answering side: this connection's own thread.

    def _serve(self):
        while True:
            taken = self.inbox.get()
            if taken is None:
                return
            request, script = taken
            try:
                script(Exchange(self, request))
            except (Gone, ConnectionError):
                pass
            except Exception as error:  # a fault of the script: the test must not pass
                self.upstream.faults.append(f"{request.path} {request.model}: {error!r}")
                self.close()
            self.busy = False
            if self.closed.is_set():
                self.sock.close()
                return

    def close(self, reset=False):
        """Closes our side: at once, and with an RST if so wished."""
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        def shut():
            self.upstream.forget(self)
            try:
                if not reset:
                    self.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            self.sock.close()
            self.closed.set()
            self.inbox.put(None)

        self.upstream.call(shut)


class Exchange:
    """One request and the means to answer it, well or badly."""

    def __init__(self, connection, request):
        self.connection = connection
        self.request = request
        self.chunked = False

    # Bytes

    def raw(self, data):
        """Sends bytes as they stand."""
        try:
            self.connection.sock.sendall(data)
        except OSError as error:
            raise Gone() from error

    def head(self, status=200, content_type="text/event-stream", headers=(), chunked=True):
        """Sends a response head; the body follows by write()."""
        self.chunked = chunked
        lines = [f"HTTP/1.1 {status} Scripted"]
        if content_type:
            lines.append(f"Content-Type: {content_type}")
        lines += [f"{name}: {value}" for name, value in headers]
        if chunked:
            lines.append("Transfer-Encoding: chunked")
        self.raw(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    def write(self, data):
        """Sends a piece of the body, as one chunk if the body is chunked."""
        if self.chunked and data:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self.raw(data)

    def end(self):
        """Ends the body: by the last chunk, or by closing."""
        if self.chunked:
            self.raw(b"0\r\n\r\n")
        else:
            self.cut()

    # Whole answers

    def reply(self, status, body, content_type="application/json", headers=()):
        if not isinstance(body, bytes):
            body = dump(body)
        lines = [("Content-Length", str(len(body))), *headers]
        head = "".join(f"{name}: {value}\r\n" for name, value in lines)
        self.raw(f"HTTP/1.1 {status} Scripted\r\nContent-Type: {content_type}\r\n{head}\r\n".encode() + body)

    def frames(self, frames, done=True):
        """Sends frames one by one, then [DONE] if so wished."""
        for frame in frames:
            self.write(event(frame))
        if done:
            self.write(DONE)

    # Endings and waits

    def cut(self):
        """Closes the connection as if the server had died in order."""
        self.connection.close()

    def reset(self):
        """Closes the connection by an RST."""
        self.connection.close(reset=True)

    def stall(self, timeout=WAIT):
        """Says nothing more until the peer is gone."""
        self.connection.closed.wait(timeout)

    def wait(self, gate):
        """Waits for a gate of this upstream to be opened by the test."""
        if not gate.wait(WAIT):
            raise AssertionError("nobody opened the gate")
        if self.connection.closed.is_set():
            raise Gone()


def unknown(exchange):
    exchange.reply(404, {"error": {"message": "no script", "type": "x", "param": None, "code": None}})


class Upstream:
    """The server. Scripts are looked up by the `model` in the body."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._wake, self._waker = socket.socketpair()
        self._calls = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._scripts = {}
        self._gates = []
        self._stopping = False
        self.requests = []
        self.connections = []  # all that are open, and those closed since the last reset
        self.faults = []
        self._selector.register(self._listener, selectors.EVENT_READ, self._on_accept)
        self._selector.register(self._wake, selectors.EVENT_READ, self._on_wake)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def url(self, prefix=""):
        return f"http://127.0.0.1:{self.port}{prefix}"

    # Scripting

    def on(self, model, script):
        """From now on requests for this model are answered by script(exchange)."""
        self._scripts[model] = script

    def gate(self):
        """An event for scripts to wait on; reset() opens it too, so that no thread is left behind."""
        gate = threading.Event()
        self._gates.append(gate)
        return gate

    def reset(self):
        """Forgets scripts and records, and ends what is still running."""
        faults, self.faults = self.faults, []
        gates, self._gates = self._gates, []
        for gate in gates:
            gate.set()
        for connection in list(self.connections):
            if connection.busy and not connection.closed.is_set():
                connection.close()
        with self._changed:
            self.requests = []
            self.connections = [c for c in self.connections if not c.closed.is_set()]
            self._scripts = {}
        return faults

    def stop(self):
        self.reset()
        self._stopping = True
        self._waker.send(b"x")
        self._thread.join(WAIT)
        for connection in self.connections:
            connection.sock.close()
        self._listener.close()
        self._wake.close()
        self._waker.close()

    # Looking

    def requests_for(self, model):
        with self._changed:
            return [request for request in self.requests if request.model == model]

    def wait_for(self, condition, what="what the test waits for", timeout=WAIT):
        """Waits until condition() holds, looking whenever a request or a close has been seen."""
        with self._changed:
            if not self._changed.wait_for(condition, timeout):
                raise AssertionError(f"{what} did not happen within {timeout} s")

    def wait_request(self, model, count=1, timeout=WAIT):
        """The count-th request for this model."""
        self.wait_for(lambda: len([r for r in self.requests if r.model == model]) >= count,
                      f"request {count} for {model}", timeout)
        return self.requests_for(model)[count - 1]

    def connection_of(self, request):
        return next(c for c in self.connections if request in c.requests)

    def wait_closed(self, request, timeout=WAIT):
        """When the peer closed the connection that brought this request (monotonic)."""
        connection = self.connection_of(request)
        assert connection.closed.wait(timeout), f"the connection was not closed within {timeout} s"
        return connection.closed_at

    # Called by connections

    def note_request(self, request):
        """The script that answers it. A test that has seen the request sets later scripts for later ones only."""
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()
            return self._scripts.get(request.model, unknown)

    def note_closed(self):
        with self._changed:
            self._changed.notify_all()

    def forget(self, connection):
        try:
            self._selector.unregister(connection.sock)
        except (KeyError, ValueError):
            pass

    def call(self, function):
        """Runs a function on the reading thread and waits for it."""
        if threading.current_thread() is self._thread:
            function()
            return
        done = threading.Event()

        def run():
            function()
            done.set()

        self._calls.put(run)
        self._waker.send(b"x")
        assert done.wait(WAIT)

    # The reading thread

    def _run(self):
        while not self._stopping:
            for key, _ in self._selector.select():
                try:
                    key.data()
                except Exception as error:  # what came was not what a client of ours may send
                    self.faults.append(f"reading: {error!r}")
                    self._selector.unregister(key.fileobj)
                    key.fileobj.close()
        self._selector.close()

    def _on_wake(self):
        self._wake.recv(4096)
        while not self._calls.empty():
            self._calls.get()()

    def _on_accept(self):
        sock, _ = self._listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(WAIT)
        connection = Connection(self, sock)
        with self._changed:
            self.connections.append(connection)
        self._selector.register(sock, selectors.EVENT_READ, connection.on_readable)
