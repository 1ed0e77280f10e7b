"""A proxy before an S3 server that breaks what passes through it, on demand and by a seed.

It runs in a thread with an event loop of its own. The gateway only reads, so requests have no body;
every connection has one of its own to the server behind.
"""

import asyncio
import random
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field

KINDS = ("hang", "500", "503", "slow", "cut", "missing", "corrupt")
_LARGEST = 1024 * 1024


@dataclass
class Proxy:
    """What it does to answers.

    Attributes:
        upstream: host and port of the server behind.
        hang_seconds: how long an answer that hangs is kept back.
        share: share of answers that are broken, 0 to 1.
        delay: seconds by which every answer is late.
        injected: how often each fault happened.
        passed: answers that went through as they were.
        url: where it listens.
    """

    upstream: tuple[str, int]
    hang_seconds: float
    share: float = 0.0
    delay: float = 0.0
    injected: Counter[str] = field(default_factory=Counter)
    passed: int = 0
    url: str = ""
    chance: random.Random = field(default_factory=lambda: random.Random(4))

    async def connected(self, reader, writer):
        """Serve one connection of the gateway."""
        behind = None
        try:
            behind = await asyncio.open_connection(*self.upstream)
            while await self._one(reader, writer, *behind):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # either side went away
        finally:
            for one in (writer, behind[1] if behind else None):
                if one is not None:
                    one.close()

    async def _one(self, reader, writer, back, forth):
        """Pass one request and its answer on; return whether the connection goes on."""
        request = await reader.readuntil(b"\r\n\r\n")
        forth.write(request)
        head = await back.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        body = await back.readexactly(length) if length <= _LARGEST else b""
        if self.delay:
            await asyncio.sleep(self.delay)
        kind = self.chance.choice(KINDS) if self.chance.random() < self.share else ""
        goes_on = await self._broken(kind, head, body, writer)
        if kind:
            self.injected[kind] += 1
        else:
            self.passed += 1
        await writer.drain()
        return goes_on

    async def _broken(self, kind, head, body, writer):
        match kind:
            case "hang":
                await asyncio.sleep(self.hang_seconds)
                return False
            case "500" | "503" | "missing":
                status = {"missing": "404 Not Found"}.get(kind, f"{kind} Broken")
                code = {"missing": "NoSuchKey"}.get(kind, "InternalError")
                text = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text
                )
            case "slow":
                writer.write(head)
                step = max(1, len(body) // 4)
                for at in range(0, len(body), step):
                    writer.write(body[at : at + step])
                    await writer.drain()
                    await asyncio.sleep(0.1)
            case "cut":
                writer.write(head + body[: len(body) // 2])
                return False
            case "corrupt":
                spoiled = bytearray(body)
                for _ in range(3 if body else 0):
                    spoiled[self.chance.randrange(len(body))] ^= self.chance.randrange(1, 256)
                writer.write(head + spoiled)
            case _:
                writer.write(head + body)
        return True


@contextmanager
def proxied(upstream, hang_seconds):
    """Run a proxy while the block runs."""
    proxy = Proxy(upstream, hang_seconds)
    loop = asyncio.new_event_loop()
    started, stopped = threading.Event(), asyncio.Event()

    async def serving():
        server = await asyncio.start_server(proxy.connected, "127.0.0.1", 0, limit=_LARGEST)
        proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        started.set()
        await stopped.wait()
        server.close()
        # A connection that was just accepted has its task a turn or two of the loop later.
        quiet = 0
        while quiet < 10:
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for one in left:
                one.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            quiet = 0 if left else quiet + 1
            await asyncio.sleep(0)

    def run():
        loop.run_until_complete(serving())
        loop.close()

    thread = threading.Thread(target=run, name="faulty-proxy")
    thread.start()
    try:
        assert started.wait(10)
        yield proxy
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(20)
