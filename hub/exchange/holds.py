"""How a held delivery is sealed: each part under a fresh key of its own, and that key under its person's.

So a hold can end for good (its key is deleted, `hub/store/held.py`), and erasure reaches it all the same.
"""

from hub.identity.keys import OpenKey, new_key, seal, seal_with, unseal, unseal_with


def seal_held(key: OpenKey, plain: bytes, *, public: bytes, part: int) -> tuple[bytes, bytes]:
    """Seal the part at place `part` of a delivery. Returns the sealed part, and its own key sealed for the person."""
    own = new_key()
    return seal(own, plain, public), seal_with(key, own, _place(public, part))


def unseal_held(key: OpenKey, sealed_key: bytes, sealed: bytes, *, public: bytes, part: int) -> bytes:
    """Open what `seal_held` sealed. Raises as `unseal` does."""
    return unseal(unseal_with(key, sealed_key, _place(public, part)), sealed, public)


def _place(public: bytes, part: int) -> bytes:
    return b"hold" + public + part.to_bytes(4)
