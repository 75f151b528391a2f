"""Assertions that were used at any process of this hub: each signs in once, wherever it is shown.

A process claims them in its own file first, durably, so that signing in goes on while the store is down; where other
processes share the store, there too. While the store is away an assertion could be used once at each process.
"""

import hashlib
from concurrent.futures import Future
from threading import Thread
from time import monotonic

from hub.core.errors import HubError, Kind
from hub.identity.local_store import PRUNE_AFTER_US, LocalStore
from hub.logs import Log
from hub.store.engine import Fences, Store, Tx

AWAY_S = 5.0  # after a failure the store is not asked: else each sign-in would wait for an engine that is down
CLAIM_S = 2.0  # for the store's answer, which takes milliseconds: an engine that hangs says nothing at all


class SharedClaims:
    """Claims an assertion here and in the store. Thread-safe."""

    def __init__(self, local: LocalStore, store: Store, log: Log) -> None:
        self._local, self._store, self._log = local, store, log
        self._again_s = 0.0
        self._hanging: Future[bool] | None = None  # no second one waits beside one that the store has not answered

    def claim_jti(self, agency: str, jti: str, exp_us: int) -> bool:
        """See `LocalStore.claim_jti`; also False when it was taken at another process."""
        if not self._local.claim_jti(agency, jti, exp_us):
            return False
        if monotonic() < self._again_s or (self._hanging is not None and not self._hanging.done()):
            return True
        claimed: Future[bool] = Future()
        row = (hashlib.sha256(f"{agency}\0{jti}".encode()).digest(), exp_us)
        Thread(target=_settle, args=(claimed, self._store, row), name="claim", daemon=True).start()
        try:
            return claimed.result(CLAIM_S)
        except TimeoutError:
            self._hanging, code = claimed, "store-unavailable"
        except HubError as error:
            if error.kind is not Kind.UNAVAILABLE:
                raise
            code = error.code
        self._again_s = monotonic() + AWAY_S
        self._log.warning("assertions.local", code=code)
        return True


def _settle(claimed: "Future[bool]", store: Store, row: tuple[bytes, int]) -> None:
    try:
        claimed.set_result(_claim(store, row))
    except Exception as error:  # noqa: BLE001 - raised by who waits for it, or it is of no interest any more
        claimed.set_exception(error)


def _claim(store: Store, row: tuple[bytes, int]) -> bool:
    def claim(tx: Tx) -> bool:
        return bool(tx.insert("used_assertion(digest, exp_us)", [row], or_ignore=True))

    try:
        return store.write(claim, fences=Fences())
    except HubError as error:
        if error.code != "keys-changed":
            raise
        return store.write(claim, fences=Fences())  # it holds nothing that is sealed


def forget_used(store: Store, now_us: int) -> int:
    """Forget what has expired an hour ago, as each process's own file does; returns how many."""
    if not store.shared:
        return 0
    before = (now_us - PRUNE_AFTER_US,)
    with store.read() as tx:
        if not tx.rows("SELECT 1 FROM used_assertion WHERE exp_us < ? LIMIT 1", before):
            return 0
    return store.write(lambda tx: tx.run("DELETE FROM used_assertion WHERE exp_us < ?", before), fences=Fences())
