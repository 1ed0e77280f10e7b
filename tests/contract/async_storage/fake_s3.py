"""The requests of S3 that are made most, answered from a dict, with faults on demand.

It says what a real server says on the wire, so that obstore is under test and not a mock of it;
SeaweedFS runs the same suite in the slow tests.
"""

import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BUCKET = "fhir"
PREFIX = "some/prefix"


class FakeS3:
    """A server on loopback.

    Attributes:
        objects: by path below the bucket.
        faults: what to do instead of answering, taken from the front: `500`, `503`, `429`, `403`,
            `hang` until `let_go`, `cut` the body short, `drop` the connection; a PUT can be
            `lost`: carried out, and not answered.
        requests: how many came.
        headers: of the last object that was written, by their names in lower case.
    """

    def __init__(self):
        self.objects = {}
        self.faults = []
        self.requests = 0
        self.headers = {}
        self.url = ""
        self.let_go = threading.Event()

    def put(self, key, data):
        """Keep an object below the prefix."""
        self.objects[f"{PREFIX}/{key}"] = data


@contextmanager
def serving():
    """Run a server while the block runs."""
    fake = FakeS3()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            """Say nothing."""

        def do_GET(self):
            fake.requests += 1
            fault = fake.faults.pop(0) if fake.faults else ""
            if fault == "hang":
                fake.let_go.wait()
            if fault == "drop":
                self.close_connection = True
                return
            if fault.isdigit():
                self.answer(int(fault), b"<Error><Code>Fault</Code><Message>no</Message></Error>")
                return
            key = self.path.partition("?")[0].removeprefix(f"/{BUCKET}/")
            data = fake.objects.get(key)
            if data is None:
                self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
                return
            span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if span is None:
                self.answer(200, data, cut=fault == "cut")
                return
            start, stop = int(span[1]), min(int(span[2]) + 1, len(data))
            if start >= len(data):
                self.answer(416, b"<Error><Code>InvalidRange</Code></Error>")
                return
            of = f"bytes {start}-{stop - 1}/{len(data)}"
            self.answer(206, data[start:stop], span=of, cut=fault == "cut")

        def do_PUT(self):
            fake.requests += 1
            data = self.rfile.read(int(self.headers["Content-Length"]))
            fault = fake.faults.pop(0) if fake.faults else ""
            if fault.isdigit():
                self.answer(int(fault), b"<Error><Code>Fault</Code><Message>no</Message></Error>")
                return
            if fault != "drop":
                path = self.path.partition("?")[0].removeprefix(f"/{BUCKET}/")
                if path in fake.objects and self.headers.get("If-None-Match"):
                    self.answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
                    return
                fake.objects[path] = data
                fake.headers = {name.lower(): self.headers[name] for name in self.headers}
            if fault in {"drop", "lost"}:
                self.close_connection = True
                return
            self.answer(200, b"")

        def answer(self, status, body, *, span="", cut=False):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", '"tag"')
            self.send_header("Last-Modified", "Tue, 24 Nov 2026 16:25:19 GMT")
            if span:
                self.send_header("Content-Range", span)
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if cut else body)
            if cut:
                self.close_connection = True

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_):
            """Say nothing of clients that hung up."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield fake
    finally:
        fake.let_go.set()
        server.shutdown()
        thread.join()
        server.server_close()
