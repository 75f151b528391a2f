"""The demo's provider: everybody whom the register knows can sign in, all with one password that everybody knows."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256

from hub.demo.cast import REGISTER, Cast, read_cast
from hub.demo.host import CLAIM, PASSWORD
from hub.demo.provider import Client, Provider, User, hashed
from hub.demo.provider_door import serving
from hub.identity.sign_ins import BACK
from hub.ports import Clock
from hub.settings import Settings
from hub.token_file import read_token

US = 1_000_000


def users_of(cast: Cast) -> list[User]:
    """List who can sign in: by the name that the demo's files call them, with their number at the register."""
    password = hashed(PASSWORD)  # once for all: it is the same
    return [
        User(one.handle, sha256(one.handle.encode()).hexdigest()[:24], password, {CLAIM: one.ids[REGISTER]})
        for one in cast.people.values()
        if REGISTER in one.ids
    ]


@contextmanager
def dev_provider(settings: Settings, clock: Clock) -> Iterator[None]:
    """Serve it at the port that the settings name, until the block ends. Raises HubError(STARTUP)."""
    assert settings.dev_provider_port is not None
    path = settings.sign_in_secret_file
    secret = (
        read_token(path, "the provider", setting="HUB_SIGN_IN_SECRET_FILE", code="sign-in-secret-file") if path else ""
    )
    client = Client(settings.sign_in_client_id, settings.issuer + BACK, secret)
    users = users_of(read_cast(datetime.fromtimestamp(clock() // US, UTC).date()))
    with serving(settings.dev_provider_port, lambda issuer: Provider(issuer, client, users, clock), mode=settings.mode):
        yield
