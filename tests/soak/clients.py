"""Clients that ask, leave, trickle and lag at random, and what every answer must keep to."""

import asyncio
import json
import re

import asks
from lib.gateway import SLOW, WAIT

PATIENCE = WAIT + 2 * SLOW
TOLD = b'"code":"upstream_truncated"'


class Gone(Exception):
    """The connection ended before an answer began: the gateway's right, between two requests."""


class Answer:
    """status, head and body, as far as they came; whole: nothing of it is missing."""

    def __init__(self, head):
        self.head = head
        self.status = int(head.split()[1])
        self.body = b""
        self.whole = False

    def field(self, name):
        found = re.search(rb"^%b: (.*)\r$" % name, self.head, re.M | re.I)
        return found.group(1) if found else b""

    async def read_body(self, reader):
        if self.field(b"Transfer-Encoding") == b"chunked":
            await self._read_chunks(reader)
        else:
            length = int(self.field(b"Content-Length") or 0)
            while len(self.body) < length and (piece := await reader.read(length - len(self.body))):
                self.body += piece
            self.whole = len(self.body) == length

    async def _read_chunks(self, reader):
        while line := await reader.readline():
            size = int(line, 16)
            try:
                piece = await reader.readexactly(size + 2)
            except asyncio.IncompleteReadError as error:
                self.body += error.partial
                return
            if size == 0:
                self.whole = True
                return
            self.body += piece[:-2]


async def read_answer(reader, is_head):
    head = b"HTTP/1.1 100"
    while head.startswith(b"HTTP/1.1 100"):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            raise Gone from None
    answer = Answer(head)
    if is_head:
        answer.whole = True
    else:
        await answer.read_body(reader)
    return answer


def fault_of(answer, half_closed):
    """What is wrong with an answer; None: nothing. A client that closes its half in the middle of an answer is gone."""
    events = answer.field(b"Content-Type").startswith(b"text/event-stream")
    if events and answer.whole:
        return None if answer.body.endswith(b"data: [DONE]\n\n") else "a whole stream without [DONE]"
    if events:
        told = TOLD in answer.body and b"[DONE]" not in answer.body
        return None if told or half_closed else "a stream was cut, and its client not told"
    if not answer.whole:
        return None if half_closed else "a body was cut"
    if answer.body and answer.field(b"Content-Type") == b"application/json":
        try:
            document = json.loads(answer.body)
        except ValueError:
            return "a body that is no JSON"
        if answer.status >= 400 and "error" not in document:
            return "an error without `error`"
    return None


class Clients:
    def __init__(self, address, choose, seen, faults):
        """seen: a Counter of what happened; faults: a list of what must not."""
        self.address = address
        self.choose = choose
        self.seen = seen
        self.faults = faults

    async def run(self, count, seconds):
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        await asyncio.gather(*(self._client(lambda: loop.time() < end) for _ in range(count)))

    async def _client(self, going):
        while going():
            try:
                reader, writer = await asyncio.open_connection(*self.address)
            except OSError:
                self.seen["refused connection"] += 1
                await asyncio.sleep(0.02)
                continue
            try:
                for _ in range(self.choose.choice((1, 1, 3, 10))):
                    await asyncio.wait_for(self._exchange(reader, writer), PATIENCE)
                    if not going():
                        break
            except Gone:
                self.seen["closed connection"] += 1
            except (OSError, asyncio.IncompleteReadError):
                self.seen["broken connection"] += 1
            except asyncio.TimeoutError:
                self.faults.append("no answer came, or no end of it")
            finally:
                writer.close()

    async def _exchange(self, reader, writer):
        """One request, or two at once, and what comes back. Raises Gone when the connection is not to be used again."""
        sent = [asks.request(self.choose)]
        half_closed = False
        how = self.choose.random()
        if how < 0.08:
            await self._leave(writer, sent[0][:self.choose.randrange(len(sent[0]))], "left in a request")
        elif how < 0.2:
            await self._leave(writer, sent[0], "left in an answer")
        elif how < 0.25:
            await self._trickle(writer, sent[0])
        elif how < 0.31:
            sent.append(asks.request(self.choose))
            writer.write(b"".join(sent))
        elif how < 0.34:
            half_closed = True
            writer.write(sent[0])
            writer.write_eof()
        else:
            writer.write(sent[0])
        await writer.drain()
        if self.choose.random() < 0.03:
            await asyncio.sleep(1)
        for request in sent:
            self._judge(request, await read_answer(reader, request.startswith(b"HEAD")), half_closed)
        if half_closed:
            raise Gone

    async def _leave(self, writer, sent, what):
        writer.write(sent)
        await writer.drain()
        await asyncio.sleep(self.choose.random() * 0.15)
        if self.choose.random() < 0.5:
            writer.transport.abort()
        self.seen[what] += 1
        raise Gone

    async def _trickle(self, writer, request):
        for at in range(0, 333, 37):
            writer.write(request[at:at + 37])
            await writer.drain()
            await asyncio.sleep(0.002)
        writer.write(request[333:])

    def _judge(self, request, answer, half_closed):
        self.seen[str(answer.status)] += 1
        if answer.field(b"Content-Type").startswith(b"text/event-stream"):
            self.seen["whole stream" if answer.whole else "cut stream"] += 1
        if decision := answer.field(b"X-Routing-Decision"):
            self.seen[decision.decode()] += 1
        if fault := fault_of(answer, half_closed):
            self.faults.append(f"{fault}:\n{request[:2000]}\n{answer.head}\n…{answer.body[-500:]}")
        if answer.field(b"Connection") == b"close":
            raise Gone
