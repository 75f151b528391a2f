"""`hub serve` with the provider of invented people beside it: real processes, people of the demo's world sign in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hub.clock import system_clock
from hub.demo.host import PASSWORD, address_of, free_port, hub_process
from hub.demo.provider import LEVELS
from hub.demo.run import open_country
from hub.settings import load
from tests.sign_in_world import Browser

ROOT = Path(__file__).resolve().parents[1]


def test_people_of_the_demo_sign_in_at_its_provider(tmp_path: Path) -> None:
    """At the demo's own hub, with the level that they choose, once the register has said who they are."""
    port = free_port()
    settings = load({}, mode="demo", data_dir=tmp_path, port=port, issuer=f"http://127.0.0.1:{port}")
    address = address_of(settings)
    with hub_process(settings, address), Browser(address) as browser:

        def enter(name: str, password: str = PASSWORD) -> int:
            approved = browser.at_provider(browser.begin(), name, password=password, acr=LEVELS[2])
            return browser.get(approved.headers["location"]).status_code if approved.is_redirect else 0

        assert enter("nora", password="wrong") == 0
        assert enter("nora") == 403
        with open_country(address, tmp_path, system_clock) as country:
            country.link_everybody()
        assert enter("nora") == 303
        assert browser.me()["assurance"] == 3
    assert (tmp_path / "provider.secret").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("HUB_DEV_PROVIDER_PORT", "0", "a password that everybody knows"),
        ("HUB_SIGN_IN_ISSUER", "http://127.0.0.1:8010", "by a provider on this machine"),
    ],
)
def test_production_starts_with_no_such_provider(tmp_path: Path, variable: str, value: str, said: str) -> None:
    """Neither beside it nor elsewhere on this machine: the real command refuses, and says why."""
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    env = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    env |= {"HUB_DATA_DIR": str(tmp_path / "data"), "HUB_SIGN_IN_SECRET_FILE": str(secret), variable: value}
    env |= {"HUB_SIGN_IN_CLIENT_ID": "hub", "COLUMNS": "400"}
    ran = subprocess.run(
        [sys.executable, "-m", "hub", "serve"],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode != 0
    assert said in " ".join(ran.stderr.split())
