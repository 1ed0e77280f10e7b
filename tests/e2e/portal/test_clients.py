"""The standalone launch by ordinary libraries that know nothing of this server."""

import shutil
import subprocess
import tarfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import expect

from tests.e2e.portal.standing import registered
from tests.e2e.portal.walking import consent, first_member

PAGE = Path(__file__).with_suffix(".html").read_text()


def test_fhirclient_of_pypi_launches_and_reads(page, sandbox):
    client = pytest.importorskip("fhirclient.client", reason="fhirclient is not installed")
    redirect_uri = f"{sandbox.base}/code"
    client_id, secret = registered(sandbox, redirect_uri)
    username, password = first_member(page)
    smart = client.FHIRClient(
        settings={
            "app_id": client_id,
            "app_secret": secret,
            "api_base": f"{sandbox.base}/fhir",
            "redirect_uri": redirect_uri,
            "scope": "launch/patient openid fhirUser offline_access patient/*.read",
        }
    )
    assert not smart.ready
    page.goto(smart.authorize_url)
    consent(page, username, password)
    smart.handle_callback(page.url)
    assert smart.ready
    assert smart.patient_id
    bundle = smart.server.request_json(f"ExplanationOfBenefit?patient={smart.patient_id}")
    assert bundle["total"] > 0
    assert smart.server.request_json(f"Patient/{smart.patient_id}")["resourceType"] == "Patient"
    refreshed = smart.reauthorize()
    assert refreshed
    assert smart.server.request_json("Coverage")["resourceType"] == "Bundle"


@pytest.mark.slow
def test_fhirclient_of_npm_launches_and_reads(page, sandbox, tmp_path):
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not there")
    packed = subprocess.run(
        [npm, "pack", "--silent", "fhirclient@2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    if packed.returncode != 0:
        pytest.skip(f"npm could not fetch fhirclient: {packed.stderr[-200:]}")
    with tarfile.open(tmp_path / packed.stdout.strip()) as package:
        library = package.extractfile("package/build/fhir-client.js").read()
    (tmp_path / "fhir-client.js").write_bytes(library)
    (tmp_path / "index.html").write_text(PAGE.replace("@@FHIR@@", f"{sandbox.base}/fhir"))
    files = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), files) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        app = f"http://127.0.0.1:{server.server_port}"
        client_id, _ = registered(sandbox, f"{app}/", public=True)
        username, password = first_member(page)
        page.goto(f"{app}/?client={client_id}")
        page.wait_for_url("**/oauth/authorize**")
        consent(page, username, password)
        expect(page.locator("#told")).to_contain_text("Patient with", timeout=20_000)
        told = page.locator("#told").inner_text()
        assert int(told.split(" with ")[1].split()[0]) > 0
        assert "user Patient/" in told
        server.shutdown()
