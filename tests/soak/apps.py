"""Apps of members: they launch, page, read, refresh their tokens, and give consents back.

What is wrong about an answer is an AssertionError; the clients note it and stop.
"""

import http.client
import json
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, fields
from functools import reduce
from operator import add
from types import SimpleNamespace

import httpx2

from tests.integration.auth import standing
from tests.soak.payer import Payer
from tests.unit.publish.samples import logical_id

COUNT = 7
PAUSE_SECONDS = 0.08
TOKEN_SECONDS = 60
AT_ITS_END = 5
"""Seconds to live with which nobody asks why a token was refused."""


@dataclass
class Seen:
    """What one client saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    put_off: Counter[str] = field(default_factory=Counter)
    seconds: list[tuple[str, float]] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    walks: int = 0
    reads: int = 0
    across: int = 0
    launches: int = 0
    refreshes: int = 0
    lost: int = 0
    revoked: int = 0


def together(all_seen):
    """Return what several clients saw."""
    found = list(all_seen)
    return Seen(
        **{
            one.name: reduce(add, (getattr(each, one.name) for each in found))
            for one in fields(Seen)
        }
    )


@dataclass
class World:
    """Where clients act.

    Attributes:
        base: the server, without a slash at its end.
        app: the registered app that all of them are, with its secret.
        payer: knows what is true.
        request_seconds: how long the server may take.
        phase: what is being broken.
        wrong: what should not have happened.
        stop: set when all is over.
        has_room: held by whoever needs that the audit trail can be written meanwhile.
    """

    base: str
    app: SimpleNamespace
    payer: Payer
    request_seconds: float
    phase: str
    wrong: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    has_room: threading.Lock = field(default_factory=threading.Lock)


class Unavailable(Exception):
    """The server answered 503: it did nothing, and the same may be tried again."""


def refuse_unavailable(answer):
    if answer.status_code == 503:
        raise Unavailable(answer)


class Client:
    """One connection from an address of its own, and a browser for launches."""

    def __init__(self, world, number):
        self.world = world
        self.seen = Seen()
        self.chance = random.Random(number)
        self._from = {"X-Forwarded-For": f"192.0.2.{number}"}
        self._browser = httpx2.Client(
            base_url=world.base,
            headers=self._from,
            timeout=world.request_seconds * 2,
            event_hooks={"response": [refuse_unavailable]},
        )
        host = world.base.removeprefix("http://")
        self._connection = http.client.HTTPConnection(host, timeout=world.request_seconds * 2)

    def living(self, act):
        """Act until told to stop; whatever is wrong is noted."""
        try:
            while not self.world.stop.is_set():
                act()
        except AssertionError as error:
            self.world.wrong.append(str(error).partition("\n")[0])
        except (OSError, KeyError, http.client.HTTPException, httpx2.HTTPError) as error:
            self.world.wrong.append(f"no whole answer: {type(error).__name__}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._connection.close()
        self._browser.close()

    def launch(self, name):
        """Sign a member in and let them share; return the tokens."""

        def launch_once():
            self._browser.cookies.clear()
            with self.world.has_room:
                fhir = f"{self.world.base}/fhir"
                return standing.tokens(self._browser, self.world.app, aud=fhir, username=name)

        granted = self._repeat_refused("launches", launch_once)
        self.seen.launches += 1
        return self._checked_tokens(name, granted)

    def refreshed(self, name, tokens):
        """Return new tokens; where the refresh token was lost on the way, those of a launch."""
        answer = self._repeat_refused(
            "refreshes",
            lambda: standing.refresh(self._browser, self.world.app, tokens["refresh_token"]),
        )
        if answer.status_code != 200:
            self.seen.lost += 1
            return self.launch(name)
        self.seen.refreshes += 1
        return self._checked_tokens(name, answer.json())

    def give_back(self, tokens):
        """Revoke a consent."""
        answer = self._repeat_refused(
            "revocations",
            lambda: standing.revoke(self._browser, self.world.app, tokens["refresh_token"]),
        )
        assert answer.status_code == 200, f"a revocation was answered {answer.status_code}"
        self.seen.revoked += 1

    def _repeat_refused(self, kind, request):
        """Return the answer to a request that is repeated while storage or the trail fails."""
        while True:
            try:
                return request()
            except Unavailable as refused:
                is_page = kind == "launches"
                has_delay = "retry-after" in refused.args[0].headers
                assert is_page or has_delay, "503 without Retry-After"
                self.seen.put_off[kind] += 1
                time.sleep(0.2)

    def _checked_tokens(self, name, granted):
        assert granted["patient"] == logical_id(name), "tokens for another member"
        return {**granted, "until": time.monotonic() + granted["expires_in"]}

    def ask(self, path, token):
        """Return status and body of one request; what may be refused is refused as documented."""
        world, phase, began = self.world, self.world.phase, time.monotonic()
        headers = {"Authorization": f"Bearer {token}", **self._from}
        self._connection.request("GET", path, headers=headers)
        answer = self._connection.getresponse()
        body = answer.read()
        took = time.monotonic() - began
        self.seen.statuses[answer.status] += 1
        if phase == world.phase:
            self.seen.seconds.append((phase, took))
        assert took < world.request_seconds + 2, f"an answer took {took:.1f} s"
        found = json.loads(body)
        if answer.status in (200, 410):
            self.seen.answered.append(answer.headers["X-Request-Id"])
        if answer.status != 200:
            assert found["resourceType"] == "OperationOutcome", "an error without OperationOutcome"
            self.seen.codes[found["issue"][0]["details"]["coding"][0]["code"]] += 1
        if answer.status == 503:
            assert answer.headers["Retry-After"], "503 without Retry-After"
        return answer.status, found


class Member(Client):
    """The app of some members, who look at their claims all the time."""

    def __init__(self, world, number, names):
        super().__init__(world, number)
        self.names = names
        self._tokens = {}

    def live(self):
        self.living(self._look)

    def _look(self):
        name = self.chance.choice(self.names)
        if self.chance.random() < 0.7:
            self.walk(name)
        else:
            self.read(name)

    def walk(self, name):
        """Page through all claims; they are those of one release, in order, each once."""
        payer, seen = self.world.payer, self.seen
        path = f"/fhir/ExplanationOfBenefit?_count={COUNT}"
        created = ""
        found = []
        while path:
            present = payer.present()
            status, bundle = self.get(name, path)
            if status is None:
                return
            if status == 410:
                assert created, "a search was answered 410"
                still = present == created == payer.present()
                assert not still, "a page link of the present release was answered 410"
                return
            created = created or bundle["meta"]["lastUpdated"]
            assert bundle["meta"]["lastUpdated"] == created, "two releases in one search"
            found += [one["resource"] for one in bundle.get("entry", ())]
            seen.across += created != payer.present()
            links = {one["relation"]: one["url"] for one in bundle["link"]}
            path = links.get("next", "").removeprefix(self.world.base)
        truth = list(payer.truth[created][logical_id(name)].values())
        assert bundle["total"] == len(truth), "a wrong total"
        assert found == truth, "a search gave something else than its release holds"
        seen.walks += 1

    def read(self, name):
        """Read one claim that all releases have; it is as one of the last releases says."""
        payer, patient = self.world.payer, logical_id(name)
        claim = next(reversed(payer.truth[payer.present()][patient]))
        before = payer.order[-3:]
        status, resource = self.get(name, f"/fhir/ExplanationOfBenefit/{claim}")
        if status is None:
            return
        assert status == 200, f"a claim was answered {status}"
        releases = {*before, *payer.order[-3:]}
        held = [payer.truth[one][patient].get(claim) for one in releases]
        assert resource in held, "a read gave something that no release of late holds"
        self.seen.reads += 1

    def token(self, name):
        """Return a token that this server gave for a member."""
        if name not in self._tokens:
            self._tokens[name] = self.launch(name)
        # Some look at the clock, and some wait until they are refused.
        elif self._left(name) < self.chance.uniform(-AT_ITS_END, AT_ITS_END):
            self._tokens[name] = self.refreshed(name, self._tokens[name])
        return self._tokens[name]["access_token"]

    def _left(self, name):
        return self._tokens[name]["until"] - time.monotonic()

    def get(self, name, path):
        """Return status and body; after a 503 the same again. None where all is over."""
        while not self.world.stop.is_set():
            status, found = self.ask(path, self.token(name))
            if status == 401:
                left = self._left(name)
                assert left < AT_ITS_END, f"a token with {left:.0f} s to live was refused"
                self._tokens[name] = self.refreshed(name, self._tokens[name])
            elif status == 503:
                time.sleep(0.05)
            else:
                assert status in (200, 410), f"status {status}"
                time.sleep(self.chance.uniform(0, PAUSE_SECONDS))
                return status, found
        return None, None


class Leaver(Client):
    """A member who shares, and takes it back: from then on nothing is answered."""

    def __init__(self, world, number, name):
        super().__init__(world, number)
        self._name = name

    def live(self):
        self.living(self._share_and_leave)

    def _share_and_leave(self):
        tokens = self.launch(self._name)
        status, found = self.ask("/fhir/Patient", tokens["access_token"])
        assert status in (200, 503), f"status {status}"
        assert status == 503 or found["total"] == 1, "the member was not found"
        self.give_back(tokens)
        for _ in range(3):
            status, _ = self.ask("/fhir/Patient", tokens["access_token"])
            assert status in (401, 503), (
                f"after its consent had ended a token was answered {status}"
            )
        self.world.stop.wait(3)
