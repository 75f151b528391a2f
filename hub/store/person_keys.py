"""The persons' wrapped keys, many in one query."""

from collections.abc import Iterable

from hub.store.engine import Store, marks

AT_ONCE = 10_000  # persons per query, below what one may name


def wrapped_keys(store: Store, persons: list[int]) -> dict[int, bytes | None]:
    """Return the wrapped key of each person there is; None for an erased one."""
    found: dict[int, bytes | None] = {}
    with store.read() as tx:
        for part in _pieces(persons):
            found.update(tx.rows(f"SELECT id, key FROM person WHERE id IN ({marks(len(part))})", part))
    return found


def _pieces(persons: list[int]) -> Iterable[list[int]]:
    return (persons[at : at + AT_ONCE] for at in range(0, len(persons), AT_ONCE))
