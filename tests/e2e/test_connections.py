"""What one connection may take of the served process: bytes, headers and time."""

import json
import socket
import time
from contextlib import ExitStack, suppress
from selectors import EVENT_READ, DefaultSelector

import pytest

from tests.e2e.test_serving import rss, running
from tests.given.tables import read_tables
from tests.unit.gateway.trees import sample_tree

SECONDS = 2
ENOUGH = b"x" * 65536


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    bounds = {
        "QUICK_SERVER": json.dumps(
            {"request_seconds": 1, "header_seconds": SECONDS, "idle_seconds": SECONDS}
        )
    }
    folder = tmp_path_factory.mktemp("connections")
    with running(sample_tree(), folder, **bounds) as started:
        yield started


def connected(server):
    host, _, port = server.base.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)), 30)
    connection.settimeout(30)
    return connection


def poured(server, beginning, bytes_of_it):
    """Send a beginning and then more of it until the server ends it; return what it took."""
    sent = 0
    with connected(server) as connection:
        with suppress(ConnectionError):
            connection.sendall(beginning)
            while sent < bytes_of_it:
                sent += connection.send(ENOUGH)
        answer = b""
        with suppress(ConnectionError):
            answer = connection.recv(65536)
    return sent, answer


def one_answer(connection):
    """Return what `/healthz` answers, and leave the connection open."""
    found = b""
    while not found.endswith(b"}"):
        more = connection.recv(4096)
        assert more, found
        found += more
    return found


def answer_to(server, request):
    """Return all that the server sends until it closes the connection."""
    found = b""
    with connected(server) as connection:
        connection.sendall(request)
        with suppress(ConnectionError):
            while more := connection.recv(65536):
                found += more
    return found


@pytest.mark.parametrize("beginning", read_tables(__file__)["endless"])
def test_what_never_ends_is_cut_off_and_takes_no_memory(server, beginning):
    before = rss(server.process.pid)
    sent, _ = poured(server, beginning.encode(), 100_000_000)
    assert sent < 20_000_000  # what kernels keep between the two, and not 100 MB
    assert rss(server.process.pid) - before < 8 * 1024
    assert server.get("/healthz")[0] == 200


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (b"GET /healthz?" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"414"),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", b"431"),
        (b"GET /healthz HTTP/1.1\r\n" + b"X: a\r\n" * 101 + b"\r\n", b"431"),
        (b"GET /healthz HTTP/1.1\r\n" + b"X: a\r\n" * 99 + b"Connection: close\r\n\r\n", b"200"),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: ", b"408"),
        (b"POST /fhir/Patient/_search HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\na", b"401"),
        (b"no request\r\n\r\n", b"400"),
    ],
)
def test_a_request_past_a_bound_is_told_which(server, request_text, status):
    answer = answer_to(server, request_text)
    assert answer.split(b" ")[1] == status, answer[:200]
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "beginning", [b"", b"\r\n", b"GET /healthz HT", b"GET / HTTP/1.1\r\nA: b\r\n"]
)
def test_slow_connections_are_closed_in_time_however_many_there_are(server, beginning):
    began = time.monotonic()
    with ExitStack() as stack, DefaultSelector() as selector:
        for _ in range(800 if beginning else 50):
            connection = stack.enter_context(connected(server))
            connection.sendall(beginning)
            selector.register(connection, EVENT_READ)
        dripping = list(selector.get_map().values())
        opened = time.monotonic() - began
        while selector.get_map() and time.monotonic() - began < opened + 4 * SECONDS:
            for key in dripping[::10]:  # a byte now and then wins no time
                if beginning and key.fd in selector.get_map():
                    with suppress(OSError):
                        key.fileobj.send(b"\r" if beginning == b"\r\n" else b"x")
            for key, _ in selector.select(0.2):
                data = b""
                with suppress(ConnectionError):
                    data = key.fileobj.recv(4096)
                if not data:
                    selector.unregister(key.fileobj)
        assert not selector.get_map(), "connections are still open"
    assert server.get("/healthz")[0] == 200


@pytest.mark.slow
def test_an_idle_connection_is_kept_for_a_while_and_then_closed(server):
    request = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    with connected(server) as connection:
        for _ in range(3):
            connection.sendall(request)
            assert one_answer(connection).startswith(b"HTTP/1.1 200")
            time.sleep(SECONDS / 4)
        assert connection.recv(4096) == b""


@pytest.mark.slow
def test_a_body_that_does_not_come_ends_the_connection(server):
    began = time.monotonic()
    with connected(server) as connection, suppress(ConnectionError):
        connection.sendall(b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\n")
        while time.monotonic() - began < 5 * SECONDS:
            connection.sendall(b"a")
            time.sleep(0.1)
        pytest.fail("it was taken for ever")


def test_a_request_in_pieces_is_answered(server):
    with connected(server) as connection:
        for byte in b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n":
            connection.sendall(bytes([byte]))
        assert one_answer(connection).startswith(b"HTTP/1.1 200")


def test_requests_that_come_together_are_answered_in_order(server):
    one = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    last = b"GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    answer = answer_to(server, one * 3 + last)
    assert [part.split(b" ")[0] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"200"] * 3 + [
        b"404"
    ]
