"""Style sheets and the one script, as `make assets` built them: read once, packed once, kept by browsers for a year.

Their address names what they hold, so a new build has new addresses. Without a build the pages are plain, and work.
"""

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from fastapi import APIRouter, Request, Response

from hub.core.errors import HubError, Kind

STATIC = Path(__file__).resolve().parents[1] / "static"
TYPES = {
    "portal.css": "text/css; charset=utf-8",
    "portal.rtl.css": "text/css; charset=utf-8",
    "portal.js": "text/javascript; charset=utf-8",
    "govuk-frontend.min.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
YEAR_S = 31_536_000
VERSION_CHARS = 12


class Asset(NamedTuple):
    """One file, and the same gzipped."""

    body: bytes
    packed: bytes


@dataclass(frozen=True, slots=True)
class Assets:
    """What was built. `version` changes with any byte of it; empty where nothing was built."""

    version: str
    files: Mapping[str, Asset]

    def address(self, name: str) -> str:
        return f"/static/{self.version}/{name}"


def read_assets(folder: Path = STATIC) -> Assets:
    """Read the built files. One that is missing makes the build as good as none."""
    try:
        bodies = {name: (folder / name).read_bytes() for name in TYPES}
    except FileNotFoundError:
        return Assets("", {})
    digest = sha256(b"".join(sha256(body).digest() for body in bodies.values())).hexdigest()
    packed = {name: Asset(body, gzip.compress(body, 9, mtime=0)) for name, body in bodies.items()}
    return Assets(digest[:VERSION_CHARS], packed)


@cache
def built() -> Assets:
    """Return what was built when this process first needed it."""
    return read_assets()


def asset_routes() -> APIRouter:
    """Serve `GET /static/{version}/{name}`. They are the same for everybody, and hold nothing of anybody."""
    router = APIRouter()

    @router.get("/static/{version}/{name}")
    def get_asset(request: Request, version: str, name: str) -> Response:
        assets = built()
        asset = assets.files.get(name)
        if asset is None:
            raise HubError(Kind.NOT_FOUND, "There is no such file.", code="not-found")
        kept = f"public, max-age={YEAR_S}, immutable" if version == assets.version else "no-cache"
        headers = {"cache-control": kept, "vary": "accept-encoding", "x-content-type-options": "nosniff"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(asset.packed, headers={**headers, "content-encoding": "gzip"}, media_type=TYPES[name])
        return Response(asset.body, headers=headers, media_type=TYPES[name])

    return router
