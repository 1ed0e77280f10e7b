"""Files of a directory for everybody, by their addresses below the directory's base.

Read from the objects of the release that is served; files of the release before it are there too,
for clients that began to fetch before it was published.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from etl.errors import NotFound
from etl.gateway.asgi import Header, Reply
from etl.gateway.fhir_errors import FhirError
from etl.gateway.negotiation import http_date
from etl.gateway.release_reader import ReleaseTree
from etl.gateway.served_releases import Releases
from etl.publish.manifest import Manifest
from etl.publish.public_files import PLAIN, PublicFile, PublicPage, public_files, public_pages

_FOREVER: Final = (b"cache-control", b"public, max-age=31536000, immutable")
_SHORT: Final = (b"cache-control", b"public, max-age=60")
_VARY: Final = (b"vary", b"accept-encoding")


class DirectoryFiles:
    """The files of a directory's releases, and the documents that list them.

    Args:
        releases: of a target with a directory of the payer.
        base: URL of the directory's base, without a slash at its end.
        cadence: ISO 8601 duration between releases.
    """

    def __init__(self, releases: Releases, base: str, cadence: str) -> None:
        self._releases = releases
        self._listed = lru_cache(maxsize=3)(lambda tree: _Listed(tree.manifest, base, cadence))

    async def at(self, path: str) -> FoundFile:
        """Return what is at a path.

        Raises:
            FhirError: `address-unknown`: there is nothing.
            StoreError: no release was read yet, or storage failed.
        """
        tree = self._releases.current()
        listed = self._listed(tree)
        if (page := listed.pages.get(path)) is not None:
            return FoundFile(tree, page)
        if (file := listed.files.get(path)) is not None:
            return FoundFile(tree, file)
        if tree.manifest.parent is not None:
            try:
                before = await self._releases.earlier(tree.manifest.parent)
            except NotFound:  # it was pruned
                pass
            else:
                if (file := self._listed(before).files.get(path)) is not None:
                    return FoundFile(before, file)
        raise FhirError(
            "address-unknown",
            "No file of the directory is at this address; $bulk-publish lists those there are.",
        )


class _Listed:
    """Files and documents of one release by path."""

    def __init__(self, manifest: Manifest, base: str, cadence: str) -> None:
        self.files = public_files(manifest)
        self.pages = public_pages(manifest, base, cadence)


class FoundFile:
    """A file or document at an address.

    Args:
        tree: the release that it is read from.
        what: the file, or the document.

    Attributes:
        etag: its entity tag.
        modified: FHIR instant at which it became what it is.
        is_file: whether it is named by its content, and never changes.
    """

    def __init__(self, tree: ReleaseTree, what: PublicFile | PublicPage) -> None:
        self._tree, self._what = tree, what
        self.etag = f'W/"{what.content[:32]}"'
        self.modified = what.modified
        self.is_file = isinstance(what, PublicFile)

    @property
    def headers(self) -> list[Header]:
        """Its validators, and how long it may be kept."""
        fields = [(b"etag", self.etag.encode()), _FOREVER if self.is_file else _SHORT, _VARY]
        modified = http_date(self.modified)
        return fields if modified is None else [*fields, (b"last-modified", modified)]

    async def reply(self) -> Reply:
        """Return the answer that has it.

        Raises:
            StoreError: it is missing or damaged, or storage failed.
        """
        what = self._what
        if isinstance(what, PublicPage):
            return Reply(200, what.body, PLAIN.encode(), self.headers)
        data = await self._tree.whole(what.key, what.sha256)
        return Reply(200, data, what.media.encode(), self.headers, unpacked=what.size)
