"""The public keys that agencies registered, as stored: several per agency, so that they can be rotated."""

from typing import NamedTuple

from hub.store.engine import Store, Tx
from hub.store.news import Topic, tell
from hub.store.outside import Act

COLUMNS = "agency, kid, jwk, from_us, until_us"
FOR_EVER_US = 2**62


class KeyRow(NamedTuple):
    """One public key: a JWK as canonical text, counting from `from_us` until just before `until_us`."""

    agency: str
    kid: str
    jwk: str
    from_us: int
    until_us: int


def all_keys(store: Store) -> list[KeyRow]:
    with store.read() as tx:
        return [KeyRow._make(row) for row in tx.rows(f"SELECT {COLUMNS} FROM agency_key ORDER BY agency, from_us, kid")]


def end_key(tx: Tx, agency: str, kid: str, *, now_us: int) -> bool:
    """Let a key count no longer from now on; False where the agency has none of this name that still counts."""
    tell(tx, Topic.AGENCY_KEYS)
    tx.outside.note(Act("agency-key", f"{agency}/{kid}", now_us))
    return bool(
        tx.run(
            "UPDATE agency_key SET until_us = ? WHERE agency = ? AND kid = ? AND until_us > ?",
            (now_us, agency, kid, now_us),
        )
    )


def put_key(tx: Tx, row: KeyRow, *, most: int) -> None:
    """Register a key; under a kid that is there it takes its place.

    Beyond `most` the agency's ended ones go, then its oldest.
    """
    tell(tx, Topic.AGENCY_KEYS)
    before = tx.rows("SELECT kid, jwk FROM agency_key WHERE agency = ? AND until_us > ?", (row.agency, row.from_us))
    tx.run("DELETE FROM agency_key WHERE agency = ? AND kid = ?", (row.agency, row.kid))
    tx.insert(f"agency_key({COLUMNS})", [row])
    tx.run(
        "DELETE FROM agency_key WHERE agency = ? AND kid NOT IN"
        " (SELECT kid FROM agency_key WHERE agency = ? ORDER BY until_us DESC, from_us DESC, kid = ? DESC LIMIT ?)",
        (row.agency, row.agency, row.kid, most),
    )
    after = set(tx.rows("SELECT kid, jwk FROM agency_key WHERE agency = ?", (row.agency,)))
    for kid, _ in sorted(set(before) - after):  # as of just before: the one that takes a place is not meant
        tx.outside.note(Act("agency-key", f"{row.agency}/{kid}", row.from_us - 1))
