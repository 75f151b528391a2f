"""The demo's own hub: a real process on fresh data, stopped when the demo ends, and found by who comes beside it."""

import ctypes
import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import httpx

from hub.core.errors import HubError, Kind
from hub.demo.cast import REGISTER
from hub.settings import DEMO_MARK, Settings

ADDRESS = "demo-address"  # in the data directory: where the running demo answers
LOG = "demo.log"  # in the data directory: what the hub writes to standard error
STARTED_WITHIN_S = 30.0
STOPPED_WITHIN_S = 15.0
LOOK_S = 0.02
LOG_LINES_SHOWN = 5
PR_SET_PDEATHSIG = 1  # prctl(2), Linux
PASSWORD = "invented-people"  # noqa: S105 - no secret: the demo prints it, and production refuses its provider
CLAIM = "register_id"  # of the demo's provider: a person's number at the register
SECRET = "provider.secret"  # noqa: S105 - a file's name in the data directory
SECRET_BYTES = 32
PLACE = "engines"  # in the data directory: what real engines keep, where the demo runs on them
NOTHING: Mapping[str, str] = MappingProxyType({})


def free_port() -> int:
    """Return a TCP port that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def address_of(settings: Settings) -> str:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104 - compared, not listened on
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def clear(directory: Path) -> None:
    """Empty the data directory of an earlier demo. Anything else that lies there is left alone and refused.

    Raises HubError(STARTUP).
    """
    if not directory.exists() or not any(directory.iterdir()):
        return
    if not (directory / DEMO_MARK).is_file():
        raise HubError(
            Kind.STARTUP,
            "this directory holds something else than a demo's data; it stays as it is",
            where=str(directory),
            remedy="Set HUB_DATA_DIR to a directory of the demo's own.",
            code="demo-data",
        )
    _refuse_running(directory)
    if (directory / PLACE).is_dir():
        from hub.demo.engines import end_left  # here: it loads the clients of engines that most demos do not use

        end_left(directory / PLACE)
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _refuse_running(directory: Path) -> None:
    """Ask the store's lock whether a hub still runs on it."""
    for lock in directory.glob("*.lock"):
        with lock.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as cause:
                raise HubError(
                    Kind.STARTUP,
                    "a demo already runs on this directory",
                    where=str(directory),
                    remedy="Stop it with Ctrl-C, or set HUB_DATA_DIR and HUB_PORT for another one.",
                    code="demo-running",
                ) from cause


Waits = Callable[[], bool]
"""Say whether somebody still waits for the hub to be ready."""


@contextmanager
def hub_process(
    settings: Settings,
    address: str,
    *,
    more: Mapping[str, str] = NOTHING,
    meanwhile: Callable[[Waits], None] = lambda _waits: None,
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `hub serve` in demo mode until the block ends. Raises HubError(STARTUP) in its own words where it cannot.

    `more` are variables of its environment; `meanwhile` is called once it has started, before it has to be ready.
    """
    _refuse_taken(settings)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    (settings.data_dir / DEMO_MARK).touch(mode=0o600)
    env = os.environ | {
        "HUB_MODE": "demo",
        "HUB_DEV_SIGN_IN": "true",
        "HUB_DATA_DIR": str(settings.data_dir.resolve()),
        "HUB_PORT": str(settings.port),
        "HUB_ISSUER": settings.issuer,
        **provider_beside(settings),
        **more,
    }
    log = settings.data_dir / LOG
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "hub", "serve"],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,  # Ctrl-C is for the demo, which then stops the hub
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - no threads yet
        )
    try:
        until_s = time.monotonic() + STARTED_WITHIN_S
        meanwhile(lambda: time.monotonic() < until_s and process.poll() is None)
        _wait_until_ready(process, address, log, until_s)
        (settings.data_dir / ADDRESS).write_text(address)
        yield process
    finally:
        (settings.data_dir / ADDRESS).unlink(missing_ok=True)
        _stop(process)


def provider_beside(settings: Settings) -> dict[str, str]:
    """Return the variables with which a hub has the demo's provider beside it, and write the secret between the two.

    None where the settings name another provider: people sign in there then. Its port is the settings' or a free one.
    """
    if settings.sign_in_issuer:
        return {}
    port, secret = settings.dev_provider_port or free_port(), settings.data_dir / SECRET
    secret.unlink(missing_ok=True)
    secret.touch(mode=0o600)
    secret.write_text(secrets.token_hex(SECRET_BYTES))
    return {
        "HUB_DEV_PROVIDER_PORT": str(port),
        "HUB_SIGN_IN_ISSUER": f"http://127.0.0.1:{port}",
        "HUB_SIGN_IN_CLIENT_ID": "hub",
        "HUB_SIGN_IN_SECRET_FILE": str(secret.resolve()),
        "HUB_SIGN_IN_CLAIM": CLAIM,
        "HUB_SIGN_IN_AGENCY": REGISTER,
    }


def _refuse_taken(settings: Settings) -> None:
    """Look whether somebody answers already: the demo must not play at another hub."""
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        if probe.connect_ex((settings.host, settings.port)) == 0:
            raise HubError(
                Kind.STARTUP,
                f"something else listens on port {settings.port}",
                where="port",
                remedy="Stop it, or set HUB_PORT (0 takes a free one).",
                code="address-unusable",
            )


def running_address(directory: Path) -> str:
    """Return where the demo on this data directory answers. Raises HubError(NOT_FOUND) when none runs."""
    try:
        return (directory / ADDRESS).read_text()
    except OSError as cause:
        raise HubError(
            Kind.NOT_FOUND,
            "no demo runs on this data directory",
            where=str(directory),
            remedy="Start one with `make demo` in another terminal, from the same folder.",
            code="demo-absent",
        ) from cause


def _die_with_parent() -> None:
    """Have the kernel stop the hub when the demo is killed, so that none is left behind."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_until_ready(process: "subprocess.Popen[bytes]", address: str, log: Path, until_s: float) -> None:
    with httpx.Client(base_url=address, trust_env=False) as http:
        while time.monotonic() < until_s and process.poll() is None:
            try:
                if http.get("/readyz").is_success:
                    return
            except httpx.TransportError:  # not listening yet
                pass
            time.sleep(LOOK_S)
    said = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES_SHOWN:]
    raise HubError(
        Kind.STARTUP,
        "the demo's hub did not start: " + " ".join(said),
        remedy=f"Its log is {log}. Another port is set by HUB_PORT.",
        code="demo-hub",
    )


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOPPED_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
