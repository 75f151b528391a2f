"""Who may read `/metrics`: it shows each agency's volumes, so in production not everybody at the public port."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from hub.app import build
from hub.core.errors import HubError, Kind
from hub.identity.keys import make_key_file
from hub.logs import open_log
from hub.settings import Settings
from hub.web.apps import admin_app, public_app
from tests.doors import client_of
from tests.test_serve import command, environment, production, serving

TOKEN = "5f" * 32


def token_file(directory: Path, text: str = TOKEN + "\n", mode: int = 0o600) -> Path:
    path = directory / "metrics.token"
    path.write_text(text)
    path.chmod(mode)
    return path


@contextmanager
def doors(directory: Path, **given: Any) -> Iterator[tuple[FastAPI, FastAPI]]:
    """Open a hub's public application and its operator's."""
    if not (directory / "root.key").exists():
        make_key_file(directory / "root.key")
    with Path("/dev/null").open("w") as nowhere:
        settings = Settings(data_dir=directory / "data", key_file=directory / "root.key", synchronous="OFF", **given)
        hub = build(settings, log=open_log(clock=lambda: 0, stream=nowhere))
        try:
            yield public_app(hub), admin_app(hub)
        finally:
            hub.close()


def metrics(app: FastAPI, authorization: str = "") -> httpx.Response:
    headers = [(b"authorization", authorization.encode("latin-1"))] if authorization else []
    return client_of(app).get("/metrics", headers=headers)


def test_in_production_without_a_token_file_the_public_port_has_none(tmp_path: Path) -> None:
    """Whoever asks is told what any unknown address tells; the operator's socket has them."""
    with doors(tmp_path, mode="production") as (public, operator):
        for shown in ("", "Bearer ", f"Bearer {TOKEN}"):
            answer = metrics(public, shown)
            assert (answer.status_code, answer.text) == (404, client_of(public).get("/nothing").text)
        assert metrics(operator).status_code == 200


def test_in_production_who_shows_the_token_sees_them_and_nobody_else(tmp_path: Path) -> None:
    """Any other word, scheme or agency's token finds nothing at the address."""
    with doors(tmp_path, mode="production", metrics_token_file=token_file(tmp_path)) as (public, operator):
        good = metrics(public, f"Bearer {TOKEN}")
        assert (good.status_code, "hub_gate_events_total 0.0" in good.text) == (200, True)
        absent = client_of(public).get("/nothing")
        near = (f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}0", f"Basic {TOKEN}", TOKEN)
        for shown in ("", "Bearer", "Bearer ", "Bearer \u00e9", *near):
            answer = metrics(public, shown)
            assert (answer.status_code, answer.text) == (404, absent.text), shown
        assert metrics(operator).status_code == 200


@pytest.mark.parametrize("mode", ["development", "demo"])
def test_developers_see_them_without_a_token(tmp_path: Path, mode: str) -> None:
    """Until they name a token file: then it counts for them too."""
    with doors(tmp_path, mode=mode) as (public, _):
        assert metrics(public).status_code == 200
    with doors(tmp_path, mode=mode, metrics_token_file=token_file(tmp_path)) as (public, _):
        assert metrics(public).status_code == 404
        assert metrics(public, f"Bearer {TOKEN}").status_code == 200


@pytest.mark.parametrize(
    ("text", "mode"), [("", 0o600), ("\n", 0o600), ("short", 0o600), (f"{TOKEN} {TOKEN}", 0o600), (TOKEN, 0o640)]
)
def test_a_token_that_others_know_or_guess_is_refused(tmp_path: Path, text: str, mode: int) -> None:
    """In every mode, before the first request; the token is not repeated."""
    named = token_file(tmp_path, text, mode)
    with pytest.raises(HubError) as refused, doors(tmp_path, mode="development", metrics_token_file=named):
        pass
    assert (refused.value.kind, refused.value.code) == (Kind.STARTUP, "metrics-token-file")
    assert TOKEN not in refused.value.what + refused.value.remedy


def test_a_production_hub_says_at_start_where_its_metrics_are(tmp_path: Path) -> None:
    """In one line for the operator, who would else look for them on the port."""
    environ = production(tmp_path)
    assert command(environ, tmp_path, "keys", "new", str(tmp_path / "root.key")).returncode == 0
    with serving(environ, tmp_path) as hub:
        assert hub.process.stdout is not None
        said = [hub.process.stdout.readline() for _ in range(2)]
        assert "HUB_METRICS_TOKEN_FILE" in said[1]
        assert httpx.get(hub.url + "/metrics").status_code == 404
    with serving(environment(tmp_path / "demo"), tmp_path) as hub:
        assert httpx.get(hub.url + "/metrics").status_code == 200
