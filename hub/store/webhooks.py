"""Webhooks as stored: one endpoint per agency with its state, and the keys that its messages are signed with."""

from typing import NamedTuple

from hub.store.engine import Tx

WEBHOOK = "agency, url, state, reason, since_us, next_us, failures"
KEY = "agency, kid, public, sealed, from_us, until_us"


class WebhookRow(NamedTuple):
    """An endpoint. `since_us` is of its state, `next_us` when a failing one is tried again."""

    agency: str
    url: str
    state: str  # unproven | active | failing | disabled
    reason: str = ""
    since_us: int = 0
    next_us: int = 0
    failures: int = 0


class KeyRow(NamedTuple):
    """A signing key, sealed; it signs from `from_us` until just before `until_us`."""

    agency: str
    kid: str
    public: bytes
    sealed: bytes
    from_us: int
    until_us: int


def webhooks(tx: Tx) -> list[WebhookRow]:
    return [WebhookRow._make(row) for row in tx.rows(f"SELECT {WEBHOOK} FROM webhook ORDER BY agency")]


def webhook_of(tx: Tx, agency: str) -> WebhookRow | None:
    row = tx.one(f"SELECT {WEBHOOK} FROM webhook WHERE agency = ?", (agency,))
    return None if row is None else WebhookRow._make(row)


def put_webhook(tx: Tx, row: WebhookRow) -> None:
    """Write an endpoint in place of the agency's former one."""
    drop_webhook(tx, row.agency)
    tx.insert(f"webhook({WEBHOOK})", [row])


def drop_webhook(tx: Tx, agency: str) -> bool:
    return bool(tx.run("DELETE FROM webhook WHERE agency = ?", (agency,)))


def webhook_keys(tx: Tx, agency: str, now_us: int) -> list[KeyRow]:
    """Return the keys that sign now, the newest first."""
    rows = tx.rows(
        f"SELECT {KEY} FROM webhook_key WHERE agency = ? AND until_us > ? ORDER BY from_us DESC, kid", (agency, now_us)
    )
    return [KeyRow._make(row) for row in rows]


def add_webhook_key(tx: Tx, row: KeyRow, *, former_until_us: int) -> None:
    """Let a new key sign, beside the former ones until `former_until_us`; what is over is destroyed."""
    tx.run("DELETE FROM webhook_key WHERE agency = ? AND until_us <= ?", (row.agency, row.from_us))
    tx.run(
        "UPDATE webhook_key SET until_us = ? WHERE agency = ? AND until_us > ?",
        (former_until_us, row.agency, former_until_us),
    )
    tx.insert(f"webhook_key({KEY})", [row])


class Proof(NamedTuple):
    """A proof that was asked for. `begun_us` is 0 where nobody has begun."""

    agency: str
    asked_us: int
    begun_us: int


def ask_proof(tx: Tx, agency: str, now_us: int) -> None:
    """Ask for a proof of the endpoint as it is now; one that is under way may be of another, so it does not count."""
    tx.run(
        "INSERT INTO webhook_proof(agency, asked_us, begun_us) VALUES (?, ?, 0)"
        " ON CONFLICT(agency) DO UPDATE SET asked_us = excluded.asked_us, begun_us = 0",
        (agency, now_us),
    )


def proof_of(tx: Tx, agency: str) -> Proof | None:
    row = tx.one("SELECT agency, asked_us, begun_us FROM webhook_proof WHERE agency = ?", (agency,))
    return None if row is None else Proof._make(row)


def proofs_to_begin(tx: Tx, begun_before_us: int) -> list[Proof]:
    """List those that nobody has begun, or whose beginner has died."""
    return [
        Proof._make(row)
        for row in tx.rows(
            "SELECT agency, asked_us, begun_us FROM webhook_proof WHERE begun_us < ? ORDER BY agency",
            (begun_before_us,),
        )
    ]


def begin_proof(tx: Tx, proof: Proof, now_us: int) -> bool:
    """Take one on; False where somebody else has."""
    return bool(
        tx.run(
            "UPDATE webhook_proof SET begun_us = ? WHERE agency = ? AND asked_us = ? AND begun_us = ?", (now_us, *proof)
        )
    )


def end_proof(tx: Tx, proof: Proof) -> None:
    """Take it off the list: what came of it stands with the endpoint."""
    tx.run("DELETE FROM webhook_proof WHERE agency = ? AND asked_us = ?", (proof.agency, proof.asked_us))
