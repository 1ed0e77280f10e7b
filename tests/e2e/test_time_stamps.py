"""Time stamps from outside: an authority of openssl's behind HTTP, a run, and `cpcds verify`."""

import shutil
import subprocess
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from etl.synth import Spec, write_extract
from tests.e2e.commands import cpcds, done

OPENSSL = shutil.which("openssl")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed"),
]
CONFIG = Path(__file__).with_suffix(".cnf").read_text()


def openssl(*words):
    assert OPENSSL is not None
    subprocess.run([OPENSSL, *map(str, words)], check=True, capture_output=True)


def authority(folder):
    """Make a root, and an authority below it; return the root's certificate."""
    folder.mkdir()
    config = folder / "tsa.cnf"
    config.write_text(CONFIG.format(folder=folder))
    (folder / "serial").write_text("01")
    root, key, asked = folder / "root.pem", folder / "root.key", folder / "tsa.csr"
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", root,
            "-subj", f"/CN=root of {folder.name}", "-days", "3650",
            "-addext", "keyUsage=critical,keyCertSign")  # fmt: skip
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", folder / "tsa.key", "-out", asked,
            "-subj", "/CN=authority")  # fmt: skip
    openssl("x509", "-req", "-in", asked, "-CA", root, "-CAkey", key, "-CAcreateserial",
            "-days", "3650", "-extfile", config, "-extensions", "usage",
            "-out", folder / "tsa.pem")  # fmt: skip
    return root


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "authority"
    root = authority(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            assert self.headers["Content-Type"] == "application/timestamp-query"
            query, answer = folder / "query.tsq", folder / "answer.tsr"
            query.write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
            openssl("ts", "-reply", "-config", folder / "tsa.cnf", "-queryfile", query,
                    "-out", answer)  # fmt: skip
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.end_headers()
            self.wfile.write(answer.read_bytes())

        def log_message(self, *_):
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=http.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}/stamp", root
    http.shutdown()
    thread.join()
    http.server_close()


def test_a_release_is_stamped_and_its_stamp_is_checked(server, tmp_path, caplog):
    url, root = server
    extract, tree = tmp_path / "extract", tmp_path / "tree"
    write_extract(extract, Spec(members=2, since=date(2024, 10, 1)))
    command = ("run", extract, "--to", tree, "--workers", "1")
    done(cpcds(*command, CPCDS_PUBLISH__TIMESTAMP_URL="http://127.0.0.1:1/stamp"))
    assert "timestamp_url: 127.0.0.1" in caplog.text
    missing = cpcds("verify", tree, "--timestamp-root", root)
    assert (missing.code, "has no time stamp" in missing.sentence) == (5, True)
    done(cpcds(*command, CPCDS_PUBLISH__TIMESTAMP_URL=url))
    verified = done(cpcds("verify", tree, "--timestamp-root", root)).out
    assert "time-stamped at 20" in verified
    other = cpcds("verify", tree, "--timestamp-root", authority(tmp_path / "other"))
    assert (other.code, "another authority made it" in other.sentence) == (5, True)
    (stamp,) = tree.glob("releases/*/timestamp.tsr")
    data = bytearray(stamp.read_bytes())
    data[-20] ^= 1
    stamp.chmod(0o600)
    stamp.write_bytes(data)
    flipped = cpcds("verify", tree, "--timestamp-root", root)
    assert (flipped.code, "one of them was changed" in flipped.sentence) == (5, True)
