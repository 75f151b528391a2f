"""Two processes of one hub, as two whole hubs in this one: one database, one root key, a data directory each.

Their threads stand still, so that a test says who hears of what, and when. `listening` lets one hear by itself.
"""

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidTag
from joserfc import jwk

from hub.app import Hub
from hub.failpoints import disarm
from hub.identity.wrapping import SEALED, SETTLES_US, progress, wrap_anew
from hub.operations.steered import rotate_wrapping_of
from hub.store import wrapped
from tests import stores
from tests.agency_world import sign
from tests.webhook_world import Calendar, Post

S = 1_000_000
HEARD_S = 2.0  # within this every process has heard of what another one changed


class Two(NamedTuple):
    """`one` and `other` share everything that a hub's processes share, and time."""

    one: Post
    other: Post
    clock: Calendar


@contextmanager
def two(directory: Path) -> Iterator[Two]:
    """Open both over a database of their own, which goes with them."""
    stores.server()
    clock = Calendar()
    try:
        with closing(process(directory, "one", clock)) as one, closing(process(directory, "other", clock)) as other:
            yield Two(one, other, clock)
            disarm()
    finally:
        stores.drop_all()


def process(directory: Path, name: str, clock: Calendar, **settings: Any) -> Post:
    """Open one more process over the same database."""
    shared = directory / "shared"
    shared.mkdir(exist_ok=True)
    given = {
        "store_dsn": stores.dsn_of(directory / "hub.sqlite"), "store_idle_ms": stores.PATIENT_MS,
        "key_file": directory / "root.key", "shared_dir": shared, **settings,
    }  # fmt: skip
    return Post(directory / name, clock, given)


@contextmanager
def listening(post: Post) -> Iterator[None]:
    """Let a process hear of news by its own thread until the block ends."""
    post.hub.threads.news.start()
    try:
        yield
    finally:
        assert post.hub.threads.news.stop(10.0)


def soon(ask: Any, wanted: Any) -> bool:
    """Say whether an answer is what is wanted within the time in which every process has heard."""
    end_s = monotonic() + HEARD_S
    while ask() != wanted:
        if monotonic() > end_s:
            return False
        sleep(0.01)
    return True


# The wrapping key.


def rotate(hub: Hub) -> None:
    rotate_wrapping_of(hub)


def piece(hub: Hub) -> bool:
    return wrap_anew(hub.store, hub.keys, hub.clock, hub.world.way)


def to_the_end(post: Post) -> None:
    """Let one process do all that is left of a rotation."""
    for _ in range(20):
        while piece(post.hub):
            pass
        with post.hub.store.read() as tx:
            if progress(tx) is None:
                return
        post.clock.pass_by(SETTLES_US / S)
    raise AssertionError("it does not end")


def unreadable(hub: Hub) -> list[str]:
    """Name what of everything under the wrapping key this process cannot open."""
    found = []
    with hub.store.read() as tx:
        for column, place in SEALED:
            for one in wrapped.piece(tx, column, (), 100_000):
                try:
                    if one.sealed:
                        hub.wrapping.unseal(one.sealed, place(*one.bound))
                except InvalidTag:
                    found.append(f"{column.table} {one.key}")
    return found


# Signing in.


def new_agency_key(hub: Hub, agency: str, kid: str = "k1") -> jwk.Key:
    """Register a key of an agency at this process; returns its private half."""
    private = jwk.OKPKey.generate_key("Ed25519")
    hub.add_agency_key(agency, {**private.as_dict(private=False), "kid": kid})
    return private


def assertion(hub: Hub, agency: str, private: jwk.Key) -> str:
    at = hub.clock() // S
    claims = {"iss": agency, "sub": agency, "aud": hub.settings.issuer, "iat": at, "exp": at + 60}
    return sign({**claims, "jti": secrets.token_hex(8)}, private)
