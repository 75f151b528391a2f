"""A bearer token in a file of its own: one word that nobody guesses, readable by the hub's user alone."""

import stat
from hmac import compare_digest
from pathlib import Path

from hub.core.errors import HubError, Kind

TOKEN_CHARS = 32  # 16 random bytes in hexadecimal: more than anybody can try


def read_token(path: Path, what: str, *, setting: str, code: str) -> str:
    """Return the token. `what` says what it is for. Raises HubError(STARTUP) for a file that is no good for it."""
    try:
        mode, token = path.stat().st_mode, path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as cause:
        raise _unusable(path, what, "cannot be read", setting, code) from cause
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise _unusable(path, what, f"can be read by others (mode {stat.S_IMODE(mode):o})", setting, code)
    if len(token) < TOKEN_CHARS or len(token.split()) != 1:
        raise _unusable(path, what, f"does not hold one word of at least {TOKEN_CHARS} characters", setting, code)
    return token


def shows(authorization: str, token: str) -> bool:
    """Say whether a request's Authorization bears the token, in a time that does not tell how much of it was right."""
    scheme, _, shown = authorization.partition(" ")
    return scheme.lower() == "bearer" and compare_digest(shown.strip().encode(), token.encode())


def _unusable(path: Path, what: str, why: str, setting: str, code: str) -> HubError:
    return HubError(
        Kind.STARTUP,
        f"the file with the token for {what} {why}",
        where=path.name,
        remedy=f"Make it as deploy/README.md says, mode 0600, or unset {setting}.",
        code=code,
    )
