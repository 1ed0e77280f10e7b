"""A small OpenID Connect provider that signs everyone in as one member, and can misbehave.

It listens on a real socket. Its faults are parts of its path: `/honest`, `/wrong-nonce`, ….
"""

import base64
import hashlib
import threading
import time
from contextlib import contextmanager
from urllib.parse import urlencode

import uvicorn
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.responses import JSONResponse, RedirectResponse
from starlette.routing import Route

from tests.ports import free_port
from tests.waiting import until

KEY = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True)
OTHER = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256", "kid": str(KEY.kid)})
MEMBER = "HPX-0001"


class Provider:
    """What it was asked, and what it answers."""

    def __init__(self, base):
        self.base = base
        self.asked = {}
        self.described = []

    def routes(self):
        return [
            Route("/{fault}/.well-known/openid-configuration", self.configuration),
            Route("/{fault}/authorize", self.authorize),
            Route("/{fault}/token", self.token, methods=["POST"]),
            Route("/{fault}/jwks", self.jwks),
        ]

    async def configuration(self, request):
        fault = request.path_params["fault"]
        issuer = f"{self.base}/{fault}"
        # `another-at-first` describes another issuer the first time, as during a change of set-up.
        is_another = fault == "another-at-first" and fault not in self.described
        self.described.append(fault)
        return JSONResponse(
            {
                "issuer": "https://another.example" if is_another else issuer,
                "authorization_endpoint": f"{issuer}/authorize",
                "token_endpoint": f"{issuer}/token",
                "jwks_uri": f"{issuer}/jwks",
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        )

    async def authorize(self, request):
        asked = dict(request.query_params)
        code = f"code-{len(self.asked)}"
        self.asked[code] = asked
        back = {"code": code, "state": asked["state"]}
        if request.path_params["fault"] == "mix-up":
            back["iss"] = "https://another.example"
        if request.path_params["fault"] == "refuses":
            back = {"error": "access_denied", "state": asked["state"]}
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(back)}", 303)

    async def token(self, request):
        fault = request.path_params["fault"]
        form = await request.form()
        asked = self.asked.pop(str(form["code"]))
        verifier = str(form.get("code_verifier", ""))
        digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        assert asked["code_challenge_method"] == "S256"
        assert asked["code_challenge"] == digest.decode().rstrip("=")
        assert request.headers["authorization"].startswith("Basic ")
        now = int(time.time())
        claims = {
            "iss": f"{self.base}/{fault}",
            "aud": asked["client_id"],
            "sub": "someone",
            "iat": now,
            "exp": now + 60,
            "nonce": asked["nonce"],
            "member_id": MEMBER,
        }
        changes = {
            "wrong-nonce": {"nonce": "another"},
            "wrong-issuer": {"iss": "https://another.example"},
            "wrong-audience": {"aud": "another"},
            "over": {"iat": now - 7200, "exp": now - 3600},
            "no-member": {"member_id": None},
            "odd-member": {"member_id": ["a", "b"]},
        }
        claims |= changes.get(fault, {})
        claims = {name: value for name, value in claims.items() if value is not None}
        key = OTHER if fault == "wrong-key" else KEY
        token = jwt.encode({"alg": "RS256", "kid": str(KEY.kid)}, claims, key)
        if fault == "unsigned":
            token = token.rsplit(".", 1)[0] + "."
        body = {"access_token": "x", "token_type": "Bearer", "expires_in": 60}
        if fault == "silent":
            return JSONResponse({"error": "server_error"}, 400)
        return JSONResponse(body if fault == "no-id-token" else {**body, "id_token": token})

    async def jwks(self, request):
        del request
        return JSONResponse({"keys": [KEY.as_dict(private=False)]})


@contextmanager
def provider():
    """Start the provider and give its address."""
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    app = Starlette(routes=Provider(base).routes())
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, lifespan="off")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    try:
        yield base
    finally:
        server.should_exit = True
        thread.join()
