"""Connections of no app: slow or endless, and the server closes them in time."""

import socket
import time
from contextlib import ExitStack, suppress

HEADER_SECONDS = 2
_SLOW = 100
_PATIENCE = 10 * HEADER_SECONDS
"""One processor has clients, storage and the server to work for."""
_ENDLESS = (b"GET /fhir/Patient?", b"GET /fhir/Patient HTTP/1.1\r\nHost: a\r\nX-Endless: ")
_POURED = 50_000_000


class Crowd:
    """Comes again and again until told to stop.

    Attributes:
        closed: connections that the server closed, as it has to.
    """

    def __init__(self, world):
        self._world = world
        host, _, port = world.base.removeprefix("http://").partition(":")
        self._address = (host, int(port))
        self.closed = 0

    def come(self):
        """Crowd the server; what it keeps open is noted."""
        try:
            while not self._world.stop.wait(1):
                self._dawdle()
                for beginning in _ENDLESS:
                    self._pour(beginning)
        except AssertionError as error:
            self._world.wrong.append(str(error))
        except OSError as error:
            self._world.wrong.append(f"no connection: {type(error).__name__}")

    def _dawdle(self):
        with ExitStack() as stack:
            slow = [stack.enter_context(self._connected()) for _ in range(_SLOW)]
            for one in slow:
                one.sendall(b"GET /fhir/Patient HTTP/1.1\r\nHost: a\r\nX-Slow: ")
            end = time.monotonic() + _PATIENCE
            for one in slow:
                one.settimeout(max(0.1, end - time.monotonic()))
                with suppress(ConnectionError):
                    try:
                        while one.recv(4096):
                            pass
                    except TimeoutError:
                        raise AssertionError("a slow connection stays open") from None
                self.closed += 1

    def _pour(self, beginning):
        sent = 0
        with self._connected() as connection, suppress(ConnectionError):
            connection.sendall(beginning)
            while sent < _POURED:
                sent += connection.send(b"x" * 65536)
            raise AssertionError("a request without an end is taken")
        self.closed += 1

    def _connected(self):
        return socket.create_connection(self._address, _PATIENCE)
