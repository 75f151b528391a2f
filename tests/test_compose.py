"""compose.yaml and the image: pinned, closed, without a secret in them, and naming only what the hub knows."""

import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from hub.settings import PREFIX, load, refuse_unsafe
from tests.deployed import (
    EXACT,
    PENDING_COMMANDS,
    PENDING_SETTINGS,
    SECRET_NAME,
    commands,
    leaks,
    settings,
    unknown_command,
    unknown_settings,
)

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
HUBS = {name: one for name, one in SERVICES.items() if one["image"].startswith("exchange-hub:")}
DECIDES = ("web", "gate", "handout", "webhooks")


def secrets_of(service: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (the secret, the name of its file) of a service."""
    pairs = [(one, one) if isinstance(one, str) else (one["source"], one["target"]) for one in service["secrets"]]
    return [(str(source), str(target)) for source, target in pairs]


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_is_pinned_and_can_change_nothing_but_its_own_data(name: str) -> None:
    """An exact version, no root, no capability, a root file system that cannot be written, bounded memory."""
    service = SERVICES[name]
    assert EXACT.fullmatch(service["image"]), service["image"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert int(service["user"].partition(":")[0]) > 0
    assert service["mem_limit"]
    assert not service.get("privileged")
    assert not service.get("cap_add")


@pytest.mark.parametrize("name", SERVICES)
def test_every_secret_is_a_file_that_the_container_is_given(name: str) -> None:
    """No variable holds one; a variable that names a file names one that this container has."""
    service = SERVICES[name]
    given = {f"/run/secrets/{target}" for _, target in secrets_of(service)} if "secrets" in service else set()
    assert {source for source, _ in secrets_of(service)} <= set(COMPOSE["secrets"]) if given else True
    for variable, value in (service.get("environment") or {}).items():
        if SECRET_NAME.search(variable):
            assert variable.endswith("_FILE"), variable
        if str(value).startswith("/run/secrets/"):
            assert value in given, f"{variable} names a file that is not mounted"
    assert all("secret" not in str(volume) for volume in service.get("volumes", ()))


def test_no_secret_stands_in_the_file_and_none_is_in_the_repository() -> None:
    """Every secret is a file below compose/secrets, which git ignores."""
    assert list(leaks(COMPOSE)) == []
    for name, one in COMPOSE["secrets"].items():
        assert one == {"file": one["file"]}, name
        assert one["file"].startswith("./compose/secrets/"), name
    listed = subprocess.run(
        ["git", "check-ignore", "-q", "deploy/compose/secrets/store_password"], cwd=ROOT, check=False
    )
    assert listed.returncode == 0


@pytest.mark.parametrize("name", HUBS)
def test_a_hub_process_names_only_settings_and_commands_that_there_are(name: str) -> None:
    """A misspelt variable would be refused at start; so would the command."""
    assert unknown_settings(HUBS[name]["environment"]) == []
    assert unknown_command([word for word in HUBS[name]["command"] if word]) == []


@pytest.mark.parametrize("name", HUBS)
def test_production_refuses_nothing_that_a_hub_process_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the files, which are not here: it would be refused at its first start, on somebody else's machine."""
    told = {key: str(value) for key, value in HUBS[name]["environment"].items() if key.startswith(PREFIX)}
    told["HUB_ISSUER"] = "https://hub.example"
    for key, value in told.items():
        monkeypatch.setenv(key, value)
    files = {key.removeprefix(PREFIX).lower() for key, value in told.items() if value.startswith(("/keys", "/run"))}
    refused = {item.where for item in refuse_unsafe(load(told))}
    assert refused <= files | {"data_dir", "shared_dir", "marks_dir"}


def test_nothing_is_pending_any_more_once_all_of_it_is_there() -> None:
    """Then the sets are to be emptied, so that nothing misspelt hides in them."""
    there = settings() >= PENDING_SETTINGS and commands() >= PENDING_COMMANDS
    assert not there or not (PENDING_SETTINGS or PENDING_COMMANDS), "empty PENDING_* in tests/deployed.py"


def test_only_the_doors_are_published_and_on_loopback_only() -> None:
    """The TLS proxy stands in front; nothing else of this machine is open to any network."""
    published = {name: one["ports"] for name, one in SERVICES.items() if "ports" in one}
    assert published == {"web": ["127.0.0.1:8000:8000"], "handout": ["127.0.0.1:8001:8000"]}


def test_only_the_hub_reaches_its_stores_and_only_publish_and_gate_the_intake() -> None:
    """By network: who is not in it cannot. The stores' networks lead nowhere else."""
    inside: dict[str, set[str]] = {}
    for name, service in SERVICES.items():
        for network in service.get("networks", ()):
            inside.setdefault(network, set()).add(name)
    assert inside["store"] == {"postgres", *HUBS}
    assert inside["bus"] == {"kafka", "topics", "web", "gate"}
    assert inside["out"] == {"webhooks"}
    for network in ("store", "bus", "policy"):
        assert COMPOSE["networks"][network]["internal"] is True
    assert {name for name, one in SERVICES.items() if str(one["image"]).startswith("openpolicyagent/")} == {
        f"opa-{name}" for name in DECIDES
    }
    for name in DECIDES:
        opa = SERVICES[f"opa-{name}"]
        assert opa["network_mode"] == f"service:{name}"
        assert "--addr=127.0.0.1:8181" in opa["command"]
        assert HUBS[name]["environment"]["HUB_OPA_URL"] == "http://127.0.0.1:8181"


def test_what_publishes_and_what_decides_sign_in_to_the_bus_as_two() -> None:
    """A web process that was taken over cannot read what others published."""
    by_name = {name: one["environment"].get("HUB_KAFKA_USERNAME") for name, one in HUBS.items()}
    expected = {"web": "hub-publish", "gate": "hub-gate", "topics": "hub-gate"}
    assert {name: user for name, user in by_name.items() if user} == expected
    holders: dict[str, set[str]] = {}
    for name, one in HUBS.items():
        for _, target in secrets_of(one):
            holders.setdefault(target, set()).add(name)
    assert holders["kafka_gate_password"] == {"gate", "topics"}
    assert holders["kafka_admin_password"] == {"topics"}


def test_the_schema_is_migrated_by_its_owner_before_anything_else_starts() -> None:
    """And nobody but the migration has the owner's password."""
    assert HUBS["migrate"]["environment"]["HUB_STORE_OWNER_DSN"].startswith("postgresql://hub_owner@")
    for name, one in HUBS.items():
        assert one["environment"]["HUB_STORE_DSN"].startswith("postgresql://hub@")
        owner = any(target.startswith("store_owner") for _, target in secrets_of(one))
        assert owner == (name == "migrate")
        if name != "migrate":
            assert "HUB_STORE_OWNER_DSN" not in one["environment"]
            assert one["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_one_process_alone_writes_beside_the_root_key() -> None:
    """The ledger of erasures has one writer: its lines are chained, and two would break the chain."""
    writers = [name for name, one in HUBS.items() if "keys:/keys" in one["volumes"]]
    assert writers == ["retention"]
    assert all("keys:/keys:ro" in one["volumes"] for name, one in HUBS.items() if name not in writers)


def test_every_long_running_container_says_whether_it_is_well() -> None:
    """OPA's image has no shell to ask with: its hub process says that the policy does not answer."""
    for name, one in SERVICES.items():
        if name not in ("migrate", "topics") and not name.startswith("opa-"):
            assert one["healthcheck"]["test"], name


def test_the_secrets_are_made_once_readable_by_their_owner_and_fit_what_compose_names(tmp_path: Path) -> None:
    """A second run changes none; the authority's key, which nobody needs any more, is gone."""
    make = [DEPLOY / "compose" / "make_secrets.sh", tmp_path / "secrets"]
    subprocess.run(make, check=True, capture_output=True)
    made = {path.name: path.read_bytes() for path in (tmp_path / "secrets").iterdir()}
    named = {Path(one["file"]).name for one in COMPOSE["secrets"].values()}
    assert named <= made.keys()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "secrets").iterdir()}
    assert {name for name, mode in modes.items() if mode != 0o400} == {"opa.yaml"}
    assert not any(name.endswith((".tmp", ".srl")) for name in made)
    assert made["kafka_properties"].count(made["kafka_admin_password"]) == 3
    assert b"@ADMIN@" not in made["kafka_properties"]
    for ca, server in (("kafka_ca", "kafka_server_pem"), ("store_ca", "store_server_crt.postgres")):
        named_files = [tmp_path / "secrets" / one for one in (ca, server)]
        subprocess.run(["openssl", "verify", "-CAfile", *named_files], check=True, capture_output=True)
    subprocess.run(make, check=True, capture_output=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "secrets").iterdir()} == made


def test_the_image_is_pinned_runs_as_nobody_and_holds_nothing_that_is_not_listed() -> None:
    """No layer can hold a key: what goes in is an allow-list, and nothing is copied from elsewhere."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert len(bases) == 2
    assert all(EXACT.fullmatch(base) for base in bases)
    last = text.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert re.search(r"uv==[0-9.]+\n", text)
    (made,) = re.findall(r"install -d -o hub -g hub -m 0700 ([^#\n]*)", last)
    mounted = {volume.split(":")[1] for one in HUBS.values() for volume in one["volumes"]}
    assert mounted == set(made.split())  # or a new volume would be root's, and nothing could be written into it
    (pinned,) = re.findall(r"uv==([0-9.]+)\n", text)
    assert f"UV_VERSION := {pinned}\n" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "ARG" not in text
    assert not SECRET_NAME.search(re.sub(r"^#.*$", "", text, flags=re.MULTILINE))
    assert PREFIX not in text
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").split("\n")
    rules = [line for line in ignored if line and not line.startswith("#")]
    assert rules[0] == "*"
    copied = {word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE) for word in line.split()}
    assert copied == {rule[1:] for rule in rules if rule.startswith("!")}
    assert {"**/*.key", "**/*.pem", "**/*.sqlite*"} <= set(rules)
