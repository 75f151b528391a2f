"""`hub serve` as a process: it starts, says how it is, is steered over its socket, stops gracefully, and comes back."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import httpx
import pytest
import yaml

from agency_adapters.channel import Settings as Line
from agency_adapters.client import HubClient
from agency_adapters.keys import new_key, public_jwk
from tests.stores import settings_of
from tests.world import until

pytestmark = pytest.mark.engines

ROOT = Path(__file__).resolve().parents[1]
HUB = [sys.executable, "-m", "hub"]
START_S = 20.0  # on a machine that does ten other things; alone it takes little more than one


class Serving(NamedTuple):
    """A hub in a process of its own."""

    process: subprocess.Popen[str]
    url: str
    environment: dict[str, str]

    def status(self) -> httpx.Response:
        return httpx.get(self.url + "/readyz")


def environment(directory: Path, mode: str = "demo", **more: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    given = {"HUB_MODE": mode, "HUB_DATA_DIR": str(directory), "HUB_PORT": "0"}
    given |= {"HUB_STORE_DSN": str(dsn)} if (dsn := settings_of(directory).get("store_dsn")) else {}
    return {**inherited, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **given, **more}


def production(directory: Path) -> dict[str, str]:
    return environment(
        directory / "data", "production", HUB_KEY_FILE=str(directory / "root.key"), HUB_ISSUER="https://hub.example"
    )


@contextmanager
def serving(environ: dict[str, str], cwd: Path) -> Iterator[Serving]:
    """Run `hub serve` until the block ends; then stop it, and expect it to end well."""
    process = subprocess.Popen(
        [*HUB, "serve"], env=environ, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line + (process.stderr.read() if process.stderr else "")
        yield Serving(process, found[0], environ)
    finally:
        process.terminate()
        _, said = process.communicate(timeout=START_S)
        assert process.returncode in (0, -signal.SIGKILL), said


def command(environ: dict[str, str], cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. A hub that starts although it must not would run on: it is killed, and that raises."""
    return subprocess.run(
        [*HUB, *words], env=environ, cwd=cwd, capture_output=True, text=True, check=False, timeout=START_S
    )


def test_a_hub_starts_says_that_it_is_ready_and_stops_when_told(tmp_path: Path) -> None:
    """Its socket is for its own user only; a pull that waits is answered when it stops, and SIGTERM ends it with 0."""
    environ = environment(tmp_path)
    began_s = monotonic()
    with serving(environ, tmp_path) as hub:
        assert (hub.status().status_code, hub.status().json()) == (200, {"status": "ready"})
        assert monotonic() - began_s < START_S
        assert httpx.get(hub.url + "/healthz").json() == {"status": "ok"}
        assert "hub_gate_events_total 0.0" in httpx.get(hub.url + "/metrics").text
        admin = tmp_path / "admin.sock"
        assert stat.S_IMODE(admin.stat().st_mode) == 0o600
        status = json.loads(command(environ, tmp_path, "status", "--json").stdout)
        assert (status["running"], status["troubles"], status["pid"]) == (True, [], hub.process.pid)
        key = new_key()
        jwk = {"agency": "family-benefits", "jwk": public_jwk(key)}
        assert httpx.post(hub.url + "/demo/agency-keys", json=jwk).status_code == 201
        assert httpx.post(hub.url + "/demo/agency-keys", json={**jwk, "agency": "nobody"}).status_code == 404
        with HubClient(Line(hub.url, "family-benefits"), key) as client:
            client.agency()
            ended: list[float] = []
            waiting = threading.Thread(target=lambda: wait(client, ended))
            waiting.start()
            until(lambda: "hub_long_polls 1.0" in httpx.get(hub.url + "/metrics").text, bool)
            stopped_s = monotonic()
            hub.process.send_signal(signal.SIGTERM)
            waiting.join()
            assert hub.process.wait(timeout=START_S) == 0
            assert ended[0] - stopped_s < 5
    assert not admin.exists()


def wait(client: HubClient, ended: list[float]) -> None:
    client.pull(wait_s=30)
    ended.append(monotonic())


@pytest.mark.embedded_only  # PostgreSQL may have several
def test_a_second_hub_on_the_same_store_is_refused_and_a_killed_one_comes_back(tmp_path: Path) -> None:
    """One process owns a store; what a kill leaves behind (socket, lock, log of writes) hinders nobody."""
    environ = environment(tmp_path)
    with serving(environ, tmp_path) as first:
        second = command(environ, tmp_path, "serve")
        assert second.returncode == 1
        assert "another hub already runs on this store" in second.stderr
        assert "Traceback" not in second.stderr
        first.process.kill()
        first.process.wait()
    assert (tmp_path / "admin.sock").exists()
    with serving(environ, tmp_path) as again:
        assert again.status().status_code == 200


def test_in_production_an_operator_approves_the_catalogue_while_the_hub_runs(tmp_path: Path) -> None:
    """Without one it runs and is not ready, in words; after `hub catalogue apply` it is, without a restart."""
    environ = production(tmp_path)
    made = command(environ, tmp_path, "keys", "new", str(tmp_path / "root.key"))
    assert made.returncode == 0, made.stderr
    assert stat.S_IMODE((tmp_path / "root.key").stat().st_mode) == 0o600
    assert command(environ, tmp_path, "keys", "new", str(tmp_path / "root.key")).returncode == 1
    with serving(environ, tmp_path) as hub:
        unready = hub.status()
        assert unready.status_code == 503
        assert unready.headers["content-type"] == "application/problem+json"
        assert unready.json()["items"] == [
            {"detail": "no catalogue is approved", "remedy": "Run `hub catalogue apply`."}
        ]
        assert httpx.post(hub.url + "/demo/agency-keys", json={"agency": "tax", "jwk": {}}).status_code == 404
        assert httpx.post(hub.url + "/dev/sign-in", json={"person": "anybody"}).status_code == 404
        applied = command(environ, tmp_path, "catalogue", "apply", "--yes")
        assert applied.returncode == 0, applied.stderr
        assert "new" in applied.stdout
        assert "agreement AGR-1" in applied.stdout
        assert hub.status().status_code == 200
        key, file = new_key(), tmp_path / "tax.jwk"
        file.write_text(json.dumps(public_jwk(key)))
        assert command(environ, tmp_path, "agency", "add-key", "tax", str(file)).returncode == 0
        with HubClient(Line(hub.url, "tax"), key) as client:
            assert client.agency()["code"] == "tax"
            rotated = command(environ, tmp_path, "keys", "rotate")
            assert rotated.returncode == 0, rotated.stderr
            assert client.agency()["code"] == "tax"
            file.write_text(json.dumps({**public_jwk(new_key()), "kid": "-second"}))
            assert command(environ, tmp_path, "agency", "add-key", "tax", str(file)).returncode == 0
            ended, again = (command(environ, tmp_path, "agency", "end-key", "tax", "-second") for _ in range(2))
            assert ended.returncode == 0, ended.stderr
            assert (again.returncode, "no key of this kid" in again.stderr) == (1, True)
            assert "a moment ago" in command(environ, tmp_path, "keys", "rotate").stderr


def test_without_a_running_hub_commands_open_the_store_themselves(tmp_path: Path) -> None:
    """Check, apply and stop work on the files alone; a rewritten version and a finding are refused in words."""
    environ = environment(tmp_path / "data", "development")
    own = tmp_path / "catalogue"
    (tmp_path / "data").mkdir()
    subprocess.run(["cp", "-r", str(ROOT / "policies" / "catalogue"), str(own)], check=True)
    assert command(environ, tmp_path, "catalogue", "check", str(own)).stdout == "No findings.\n"
    assert command(environ, tmp_path, "catalogue", "apply", str(own), "--yes").returncode == 0
    purpose = own / "purposes" / "FAM-ALLOW.yaml"
    purpose.write_text(purpose.read_text().replace("retention_days: 6570", "retention_days: 9999"))
    rewritten = command(environ, tmp_path, "catalogue", "apply", str(own), "--yes")
    assert rewritten.returncode == 1
    assert "FAM-ALLOW v1 was approved and says something else; raise the version" in rewritten.stderr
    changed = yaml.safe_load(purpose.read_text())
    purpose.write_text(yaml.safe_dump({**changed, "version": 2}, allow_unicode=True))
    widened = command(environ, tmp_path, "catalogue", "apply", str(own), "--yes")
    assert re.search(r"widened.*FAM-ALLOW.*v2.*retention_days: 6570 -> 9999", widened.stdout), widened.stderr
    purpose.write_text(purpose.read_text() + "surprise: 1\n")
    found = command(environ, tmp_path, "catalogue", "check", str(own))
    assert found.returncode == 1
    assert re.search(r"FAM-ALLOW\.yaml:\d+: .*surprise", found.stdout)
    assert command(environ, tmp_path, "status").returncode == 1
    assert "signed with the key" in command(environ, tmp_path, "keys", "rotate").stdout
    assert command(environ, tmp_path, "stop-release").returncode == 0
    assert (tmp_path / "data" / "stop-release").exists()
    assert command(environ, tmp_path, "stop-release", "--resume").returncode == 0
    assert not (tmp_path / "data" / "stop-release").exists()


def test_a_hub_that_starts_loads_nothing_that_only_draws_or_migrates(tmp_path: Path) -> None:
    """What is not loaded need not be waited for: it is most of a start."""
    code = (
        "import sys; from hub.app import build; from hub.settings import checked, load\n"
        "from hub.web.apps import public_app\n"
        "hub = build(checked(load())); public_app(hub); hub.store.close()\n"
        "print(sorted({'rich', 'sqlalchemy', 'alembic', 'pydantic.v1'} & set(sys.modules)))"
    )
    env = {**os.environ, "HUB_MODE": "development", "HUB_DATA_DIR": str(tmp_path), "HUB_KEY_FILE": str(tmp_path / "k")}
    found = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"
