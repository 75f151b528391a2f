"""A profile: which hub, as which agency, with which key. One small file per profile, its key and its memory beside it.

`$XDG_CONFIG_HOME/hub-agency/NAME.toml` with `NAME.key` (PKCS 8) and `NAME.seen` (SQLite); `last` names the one that
was initialised last. Files are 0600 in a 0700 directory, written whole or not at all; looser ones are refused.
"""

import base64
import json
import os
import re
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from joserfc.jwk import OKPKey

from agency_adapters.channel import Settings
from agency_adapters.errors import AgencyError
from agency_adapters.keys import key_from_pem

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")  # an agency's code, and safe as a file's name
_OTHERS = 0o077


@dataclass(frozen=True, slots=True)
class Profile:
    """What is in the file. `event_key` makes the ids of events that adapters name; it must outlive the signing key."""

    name: str
    hub: str
    agency: str
    issuer: str = ""
    ca_file: Path | None = None
    event_key: bytes = b""

    @property
    def settings(self) -> Settings:
        """What the client needs of it."""
        return Settings(self.hub, self.agency, self.issuer, self.ca_file)


def directory_of(environment: Mapping[str, str]) -> Path:
    """Return where profiles live (XDG Base Directory 0.8: a relative XDG_CONFIG_HOME is ignored)."""
    told = Path(environment.get("XDG_CONFIG_HOME", ""))
    home = Path(environment["HOME"]) if environment.get("HOME") else Path.home()
    return (told if told.is_absolute() else home / ".config") / "hub-agency"


def seen_path(directory: Path, name: str) -> Path:
    """Return where the handled deliveries of a profile are remembered."""
    return directory / f"{name}.seen"


def new_profile(name: str, *, hub: str, issuer: str, ca_file: Path | None) -> Profile:
    """Make a profile, unwritten. Raises `AgencyError` for a name or an address that cannot be."""
    _check_name(name)
    ca_path = ca_file.resolve() if ca_file else None
    profile = Profile(name, hub.rstrip("/"), name, issuer, ca_path, secrets.token_bytes(32))
    _ = profile.settings  # refuses an unsafe address before anything is written
    return profile


def write_profile(directory: Path, profile: Profile, key: OKPKey) -> None:
    """Write the key, the profile and `last`, in this order: a profile that can be read has its key."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(directory / f"{profile.name}.key", key.as_pem(private=True))
    lines = {
        "hub": profile.hub,
        "agency": profile.agency,
        "issuer": profile.issuer,
        "ca_file": str(profile.ca_file or ""),
        "event_key": base64.b64encode(profile.event_key).decode(),
    }
    # a JSON string without escapes beyond the basic plane is a TOML basic string (TOML 1.0, "String")
    text = "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in lines.items())
    write_private(directory / f"{profile.name}.toml", text.encode())
    write_private(directory / "last", profile.name.encode())


def read_profile(directory: Path, name: str | None) -> tuple[Profile, OKPKey]:
    """Read a profile and its key; without a name the only one, else the one initialised last.

    Raises `AgencyError` when there is none, when a file is open to others, or when it cannot be understood.
    """
    name = name or _default_name(directory)
    _check_name(name)
    remedy = f"Run `hub-agency init {name} --hub URL`, with --replace to start anew."
    text = read_private(directory / f"{name}.toml", remedy=remedy)
    try:
        found = tomllib.loads(text.decode())
        event_key = base64.b64decode(str(found["event_key"]), validate=True)
        values = {part: str(found[part]) for part in ("hub", "agency", "issuer", "ca_file")}
    except (ValueError, KeyError) as error:
        raise AgencyError(f"the profile {name} cannot be understood", remedy=remedy) from error
    ca_file = Path(values["ca_file"]) if values["ca_file"] else None
    profile = Profile(name, values["hub"], values["agency"], values["issuer"], ca_file, event_key)
    _ = profile.settings  # an address that was edited by hand is checked here
    return profile, key_from_pem(read_private(directory / f"{name}.key", remedy=remedy))


def profile_exists(directory: Path, name: str) -> bool:
    """Tell whether there is a profile of this name."""
    _check_name(name)
    return (directory / f"{name}.toml").exists()


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise AgencyError("a profile's name is the agency's code", remedy="Use a-z, 0-9 and -, at most 63 of them.")


def _default_name(directory: Path) -> str:
    names = sorted(path.stem for path in directory.glob("*.toml"))
    if len(names) == 1:
        return names[0]
    if not names:
        raise AgencyError("there is no profile yet", remedy="Run `hub-agency init NAME --hub URL`.")
    last = directory / "last"
    name = last.read_text().strip() if last.exists() else ""
    if name not in names:
        raise AgencyError("there are several profiles", remedy=f"Choose with --profile: {', '.join(names)}.")
    return name


def read_private(path: Path, *, remedy: str) -> bytes:
    """Read a file that only its owner may read. Windows keeps such rights elsewhere, so nothing is checked there.

    Raises `AgencyError` where it cannot be read, or others may.
    """
    try:
        if os.name == "posix" and path.stat().st_mode & _OTHERS:
            raise AgencyError(
                f"others can read {path}", remedy=f"Run `chmod 600 {path}`; if it was shared, replace it."
            )
        return path.read_bytes()
    except OSError as error:
        raise AgencyError(f"{path} cannot be read: {error.strerror or type(error).__name__}", remedy=remedy) from error


def write_private(path: Path, content: bytes) -> None:
    """Replace a file at once: written beside it with 0600, synced, renamed over it. Raises `AgencyError`."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        why = error.strerror or type(error).__name__
        raise AgencyError(f"{path} cannot be written: {why}", remedy="Make its directory writable.") from error
