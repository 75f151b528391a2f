"""The port of its own for what probes and scrapes, and the stop flag that several processes of one hub share."""

import importlib.util
import re
from pathlib import Path

import httpx
import pytest

from hub.settings import load
from hub.stop_flag import STOP_FLAG
from hub.web.apps import operations_app
from tests.doors import client_of
from tests.test_metrics_door import TOKEN, doors, token_file
from tests.test_serve import command, environment, production, serving


def test_probes_and_scrapes_have_a_port_of_their_own_and_nothing_else_is_there(tmp_path: Path) -> None:
    """Health and readiness for anybody, metrics for who shows the token; none of the doors is behind it."""
    environ = production(tmp_path) | {
        "HUB_OPERATIONS_PORT": "0",
        "HUB_METRICS_TOKEN_FILE": str(token_file(tmp_path)),
    }
    assert command(environ, tmp_path, "keys", "new", str(tmp_path / "root.key")).returncode == 0
    with serving(environ, tmp_path) as hub:
        assert hub.process.stdout is not None
        said = [hub.process.stdout.readline() for _ in range(2)]
        found = re.search(r"metrics: port (\d+)", said[1])
        assert found, said
        url = f"http://127.0.0.1:{found[1]}"
        assert httpx.get(url + "/healthz").json() == {"status": "ok"}
        assert httpx.get(url + "/readyz").json()["items"][0]["detail"] == "no catalogue is approved"
        assert httpx.get(url + "/metrics").status_code == 404
        seen = httpx.get(url + "/metrics", headers={"authorization": f"Bearer {TOKEN}"})
        assert "hub_gate_events_total 0.0" in seen.text
        for door in ("/v1/deliveries", "/v1/events", "/inbox", "/status", "/token", "/.well-known/jwks.json"):
            assert httpx.get(url + door).status_code == 404, door
            assert httpx.post(url + door).status_code in (404, 405), door


@pytest.mark.skipif(
    importlib.util.find_spec("hub.web.opa") is None, reason="there is no policy server in this checkout"
)
def test_opa_fetches_its_bundle_where_the_manifests_say(tmp_path: Path) -> None:
    """At the operations port: OPA needs it before the hub is ready, and the doors are closed till then."""
    with doors(tmp_path, mode="production", opa_bundle_token_file=token_file(tmp_path)) as (public, _):
        door = client_of(operations_app(public.state.hub))
        fetched = door.get("/opa/bundle.tar.gz", headers={"authorization": f"Bearer {TOKEN}"})
        assert fetched.content == public.state.hub.policy_bundle().content
        assert door.get("/opa/bundle.tar.gz").status_code == 404


def test_without_the_setting_there_is_no_such_port(tmp_path: Path) -> None:
    """Nothing said opens nothing."""
    with serving(environment(tmp_path), tmp_path) as hub:
        assert hub.process.stdout is not None
        assert "port" not in hub.process.stdout.readline().replace("HUB_PORT", "")


def test_a_stop_in_the_shared_directory_stops_every_process_that_shares_it(tmp_path: Path) -> None:
    """The command writes it there, without any hub; each hub that names the directory is stopped by it."""
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o700)
    homes = [environment(tmp_path / name, HUB_SHARED_DIR=str(shared)) for name in ("one", "two")]
    stopped = command(homes[0], tmp_path, "stop-release", "--all")
    assert stopped.returncode == 0, stopped.stderr
    assert (shared / STOP_FLAG).exists()
    for environ in homes:
        assert "All releases are stopped" in command(environ, tmp_path, "stop-release", "--list").stdout
        with serving(environ, tmp_path) as hub:
            seen = httpx.get(hub.url + "/metrics").text
            assert "hub_releases_stopped 1.0" in seen
    assert load({}, data_dir=tmp_path).flag_dir == tmp_path
