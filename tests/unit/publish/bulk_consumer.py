"""A consumer of Bulk Publish that knows the specification and nothing of this program.

It follows the flow of the Bulk Data 4.0 ballot: process a page's output, then its deletions, then
follow the `next` link; at `#pending` remember the page, at `#closed` begin anew at the root.
"""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urljoin

Fetch = Callable[[str], bytes]


@dataclass
class Consumer:
    """A local copy of what a provider publishes.

    Attributes:
        root: URL of `$bulk-publish`.
        fetch: returns the body at a URL.
        resources: type/id -> the resource's text.
        time: `transactionTime` of the last page.
        restarts: how often it began at the root.
    """

    root: str
    fetch: Fetch
    resources: dict[str, bytes] = field(default_factory=dict)
    time: str = ""
    restarts: int = 0
    files: int = 0
    waiting: str | None = None

    def update(self):
        """Follow the chain as far as it goes now."""
        url = self.waiting
        if url is None:
            self._process(self.root, fresh=True)
            url = self.waiting
        while url is not None:
            page = json.loads(self.fetch(url))
            (link,) = page["link"]
            assert link["relation"] == "next"
            if link["url"] == "#pending":
                self.waiting = url
                return
            if link["url"] == "#closed":
                self._process(self.root, fresh=True)
                url = self.waiting
                continue
            url = urljoin(url, link["url"])
            self._process(url)

    def _process(self, url, *, fresh=False):
        if fresh:
            self.resources.clear()
            self.restarts += 1
        page = json.loads(self.fetch(url))
        assert page["manifestType"].endswith("/BulkPublishManifest")
        assert isinstance(page["requiresAccessToken"], bool)
        assert page["updateCadence"].startswith("P")
        self.time = page["transactionTime"]
        for file in page.get("output", ()):
            lines = self._lines(urljoin(url, file["url"]), file)
            for text in lines:
                resource = json.loads(text)
                assert resource["resourceType"] == file["type"]
                self.resources[f"{file['type']}/{resource['id']}"] = text
        for file in page.get("deleted", ()):
            count = 0
            for text in self._lines(urljoin(url, file["url"]), None):
                bundle = json.loads(text)
                assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "transaction")
                for entry in bundle["entry"]:
                    assert entry["request"]["method"] == "DELETE"
                    self.resources.pop(entry["request"]["url"], None)
                    count += 1
            assert count == file["count"]
        (link,) = page["link"]
        self.waiting = url
        if fresh and not link["url"].startswith("#"):
            self.waiting = urljoin(url, link["url"])

    def _lines(self, url, file):
        data = self.fetch(url)
        self.files += 1
        lines = gzip.decompress(data).splitlines()
        if file is not None:
            assert (len(data), len(lines)) == (file["fileSize"], file["count"])
        return lines
