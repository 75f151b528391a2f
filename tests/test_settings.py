"""Settings: every knob is read, explained and bounded, and an unsafe production does not start."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hub.core.errors import HubError, Kind
from hub.settings import DEMO_MARK, OFFICERS, RULES, Settings, checked, load, refuse_unsafe


def safe_production(folder: Path, **changed: Any) -> Settings:
    """A production that may start: each test spoils one thing in it."""
    key_file = folder / "wrapping.key"
    key_file.write_bytes(bytes(32))
    key_file.chmod(0o600)
    safe = {
        "mode": "production",
        "data_dir": folder / "data",
        "key_file": key_file,
        "issuer": "https://hub.example",
        "host": "127.0.0.1",
    }
    return load({}, **(safe | changed))


def secret(folder: Path) -> Path:
    path = folder / "secret"
    path.touch(mode=0o600)
    return path


def refused(settings: Settings) -> list[str]:
    return [item.where for item in refuse_unsafe(settings)]


def test_a_shared_directory_that_everybody_may_write_into_is_refused(tmp_path: Path) -> None:
    """Whoever could remove the stop flag would resume releases."""
    shared = tmp_path / "shared"
    shared.mkdir()
    for mode, expected in ((0o777, ["shared_dir"]), (0o2770, [])):
        shared.chmod(mode)
        assert refused(safe_production(tmp_path, shared_dir=shared)) == expected


def test_a_safe_production_starts(tmp_path: Path) -> None:
    """With a private key file, an https issuer and loopback behind a proxy there is nothing to refuse."""
    settings = safe_production(tmp_path)
    assert checked(settings) is settings


SIGN_IN: dict[str, Any] = {
    "sign_in_issuer": "https://login.example",
    "sign_in_client_id": "hub",
    "sign_in_secret_file": Path("secret"),
}
UNSAFE: list[tuple[str, dict[str, Any]]] = [
    ("dev_sign_in", {"dev_sign_in": True}),
    ("dev_provider_port", {"dev_provider_port": 0}),
    ("sign_in_issuer", SIGN_IN | {"sign_in_issuer": "http://127.0.0.1:8010"}),
    ("sign_in_issuer", SIGN_IN | {"sign_in_issuer": "https://localhost:8010"}),
    ("sign_in_secret_file", SIGN_IN | {"sign_in_secret_file": Path("/nowhere/absent")}),
    ("sign_in_key_file", SIGN_IN | {"sign_in_secret_file": None, "sign_in_key_file": Path("/nowhere/absent")}),
    ("failpoints", {"failpoints": "gate.before_commit=kill:1"}),
    ("issuer", {"issuer": "http://hub.example"}),
    ("issuer", {"issuer": "https://127.0.0.1:8000"}),
    ("issuer", {"issuer": "https://localhost"}),
    ("key_file", {"key_file": None}),
    ("key_file", {"key_file": Path("/nowhere/absent.key")}),
    ("metrics_token_file", {"metrics_token_file": Path("/nowhere/absent.token")}),
    ("opa_token_file", {"opa_token_file": Path("/nowhere/absent.token")}),
    ("opa_bundle_token_file", {"opa_bundle_token_file": Path("/nowhere/absent.token")}),
    ("opa_url", {"policy": "server", "opa_url": "http://opa.internal:8181"}),
    ("opa_url", {"policy": "server", "opa_url": "http://10.0.0.7:8181"}),
    ("shared_dir", {"shared_dir": Path("/nowhere/absent")}),
    ("marks_dir", {"marks_dir": Path("/nowhere/absent")}),
    ("file_drop_dir", {"file_drop_dir": Path("/nowhere/absent")}),
    ("store_password_file", {"store_password_file": Path("/nowhere/absent")}),
    ("store_dsn", {"store_dsn": "postgresql://hub@db.example/hub?sslmode=require"}),
    ("synchronous", {"synchronous": "NORMAL"}),
    ("synchronous", {"synchronous": "OFF"}),
    ("intake_retention_days", {"intake_retention_days": 8}),
    ("clock_off_max_s", {"clock_off_max_s": 301}),
    ("webhook_private_networks", {"webhook_private_networks": ("0.0.0.0/0",)}),
    ("webhook_private_networks", {"webhook_private_networks": ("10.20.0.0/16", "::/0")}),
    ("webhook_private_networks", {"webhook_private_networks": ("0.0.0.0/1", "128.0.0.0/1")}),
    ("kafka_password_file", {"bus": "kafka", "kafka_bootstrap": ("kafka.example:9093",)}),
    ("kafka_security", {"bus": "kafka", "kafka_bootstrap": ("127.0.0.1:9092",), "kafka_security": "PLAINTEXT"}),
    ("host", {"host": "0.0.0.0"}),
    ("host", {"host": "hub.example"}),
]


@pytest.mark.parametrize(("where", "changed"), UNSAFE, ids=[f"{where}-{n}" for n, (where, _) in enumerate(UNSAFE)])
def test_production_refuses_what_is_unsafe(tmp_path: Path, where: str, changed: dict[str, Any]) -> None:
    """Each unsafe setting is refused by itself, under its own name, with a remedy."""
    if changed.get("sign_in_secret_file") == SIGN_IN["sign_in_secret_file"]:
        changed = changed | {"sign_in_secret_file": secret(tmp_path)}
    settings = safe_production(tmp_path, **changed)
    assert refused(settings) == [where]
    with pytest.raises(HubError) as caught:
        checked(settings)
    assert caught.value.kind is Kind.STARTUP
    assert all(item.what and item.remedy for item in caught.value.items)


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620, 0o644])
def test_production_refuses_a_key_file_that_others_can_touch(tmp_path: Path, mode: int) -> None:
    """Reading it or replacing it is enough: any bit for group or others is refused."""
    settings = safe_production(tmp_path)
    settings.key_path.chmod(mode)
    assert refused(settings) == ["key_file"]


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620])
def test_production_refuses_a_metrics_token_that_others_can_touch(tmp_path: Path, mode: int) -> None:
    """Every agency's volumes would be theirs to read; with its owner's mode alone it is taken."""
    (tmp_path / "metrics.token").write_text("0" * 64)
    settings = safe_production(tmp_path, metrics_token_file=tmp_path / "metrics.token")
    (tmp_path / "metrics.token").chmod(mode)
    assert refused(settings) == ["metrics_token_file"]
    (tmp_path / "metrics.token").chmod(0o600)
    assert refused(settings) == []


@pytest.mark.parametrize("place", ["hub.key", "below/hub.key"])
def test_production_refuses_a_key_file_beside_the_data_that_it_opens(tmp_path: Path, place: str) -> None:
    """Named or not, a copy of the directory would hold both; a link to it from elsewhere does not hide that."""
    settings = safe_production(tmp_path)
    inside = settings.data_dir / place
    inside.parent.mkdir(parents=True)
    settings.key_path.rename(inside)
    (tmp_path / "link.key").symlink_to(inside)
    assert refused(safe_production(tmp_path, key_file=inside)) == ["key_file"]
    assert refused(safe_production(tmp_path, key_file=tmp_path / "link.key")) == ["key_file"]


def test_production_refuses_the_data_of_a_demo(tmp_path: Path) -> None:
    """A store in which invented people live, under keys that anybody can make, never turns into a real one."""
    settings = safe_production(tmp_path)
    settings.data_dir.mkdir()
    (settings.data_dir / DEMO_MARK).touch()
    assert refused(settings) == ["data_dir"]


def test_production_refuses_officers_whom_a_hub_made_for_itself(tmp_path: Path) -> None:
    """Their private keys lie beside the store: whoever reads them could sign for every agency."""
    settings = safe_production(tmp_path)
    (settings.data_dir / OFFICERS).mkdir(parents=True)
    assert refused(settings) == ["data_dir"]


def test_production_may_listen_everywhere_behind_a_tls_proxy(tmp_path: Path) -> None:
    """Who says that a proxy ends TLS may listen on any address."""
    assert not refused(safe_production(tmp_path, host="0.0.0.0", behind_tls_proxy=True))


def at_kafka(folder: Path, **changed: Any) -> Settings:
    """A production whose bus is a cluster, and whose account there has its password."""
    password = folder / "kafka.password"
    password.touch(mode=0o600)
    account = {"kafka_username": "hub", "kafka_password_file": password}
    return safe_production(folder, bus="kafka", **(account | {"kafka_bootstrap": ("kafka.example:9093",)} | changed))


def test_production_reaches_its_brokers_through_tls(tmp_path: Path) -> None:
    """Without it only on loopback, and every one of them has to be there."""
    assert not refused(at_kafka(tmp_path))
    bare = {"kafka_security": "SASL_PLAINTEXT"}
    assert refused(at_kafka(tmp_path, **bare)) == ["kafka_security"]
    assert refused(at_kafka(tmp_path, **bare, kafka_bootstrap=("127.0.0.1:9092", "10.0.0.1:9092"))) == [
        "kafka_security"
    ]
    assert not refused(at_kafka(tmp_path, **bare, kafka_bootstrap=("127.0.0.1:9092", "[::1]:9092")))


def test_production_refuses_a_password_that_others_may_read(tmp_path: Path) -> None:
    """That of each account that the hub uses."""
    open_file = tmp_path / "open.password"
    open_file.touch(mode=0o644)
    assert refused(at_kafka(tmp_path, kafka_password_file=open_file)) == ["kafka_password_file"]
    assert refused(at_kafka(tmp_path, kafka_publish_username="out")) == ["kafka_password_file"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"kafka_bootstrap": ""},
        {"kafka_bootstrap": "user:secret@broker:9092"},
        {"kafka_bootstrap": "broker"},
        {"kafka_bootstrap": "broker:9092", "kafka_min_insync": 3, "kafka_replication": 2},
    ],
    ids=["none", "url", "no-port", "more-in-sync-than-there-are"],
)
def test_a_bus_on_kafka_without_brokers_is_refused_and_its_values_are_not_repeated(wrong: dict[str, Any]) -> None:
    """In every mode, when the settings are read."""
    with pytest.raises(HubError) as raised:
        load({}, mode="development", bus="kafka", **wrong)
    assert "secret" not in repr(raised.value.items)


def test_every_rule_has_been_seen_refusing(tmp_path: Path) -> None:
    """A rule that no test makes fire could be taken out unnoticed."""
    loose = safe_production(tmp_path)
    (tmp_path / "data").mkdir()
    spoilt = [safe_production(tmp_path, **changed) for _, changed in UNSAFE]
    spoilt.append(safe_production(tmp_path, data_dir=tmp_path))  # the key file lies in it
    spoilt.append(at_kafka(tmp_path, kafka_security="SASL_PLAINTEXT"))
    loose.key_path.chmod(0o644)
    (tmp_path / "data" / DEMO_MARK).touch()
    silent = [rule.__name__ for rule in RULES if not any(rule(settings) for settings in [loose, *spoilt])]
    assert silent == []


@pytest.mark.parametrize(
    ("changed", "where"),
    [
        ({"sign_in_issuer": "http://login.example"}, "sign_in_issuer"),
        ({"sign_in_issuer": "https://login.example?x=1"}, "sign_in_issuer"),
        ({"sign_in_client_id": ""}, ""),
        ({"sign_in_secret_file": None}, ""),
        ({"sign_in_key_file": Path("key")}, ""),
        ({"sign_in_acr": "high"}, "sign_in_acr"),
        ({"sign_in_acr": "high=4"}, "sign_in_acr"),
        ({"sign_in_acr": "high=3,high=2"}, "sign_in_acr"),
        ({"sign_in_scope": "profile"}, "sign_in_scope"),
    ],
)
def test_a_provider_that_is_half_configured_is_refused(changed: dict[str, Any], where: str) -> None:
    """Issuer, client and one way to prove who asks belong together; plain http is for loopback alone."""
    with pytest.raises(HubError) as caught:
        load({}, mode="development", **(SIGN_IN | changed))
    assert [item.where for item in caught.value.items] == [where]


def test_what_an_acr_is_worth_is_a_setting() -> None:
    """eIDAS' three levels unless others are named; a value may hold an equals sign."""
    assert load({}, mode="development").assurance_of == {
        "http://eidas.europa.eu/LoA/low": 1,
        "http://eidas.europa.eu/LoA/substantial": 2,
        "http://eidas.europa.eu/LoA/high": 3,
    }
    assert load({}, mode="development", sign_in_acr="urn:x?a=b=2,gold=3").assurance_of == {"urn:x?a=b": 2, "gold": 3}


def test_nothing_said_means_production() -> None:
    """A forgotten HUB_MODE refuses to start; it does not open the developers' door."""
    settings = load({})
    assert settings.mode == "production"
    assert not settings.dev_sign_in
    with pytest.raises(HubError, match="unsafe in production"):
        checked(settings)


@pytest.mark.parametrize("mode", ["development", "demo"])
def test_developers_may_have_what_production_refuses(mode: str) -> None:
    """Outside production nothing is refused."""
    assert refuse_unsafe(load({}, mode=mode, dev_sign_in=True, failpoints="x=kill", synchronous="OFF")) == ()


def test_every_wrong_value_is_named_at_once_and_none_repeated() -> None:
    """The operator corrects everything in one go; a value may be a secret, so none comes back."""
    with pytest.raises(HubError) as caught:
        load(
            {},
            mode="SECRET",
            timezone="Mars/SECRET",
            issuer="https://hub.example/?SECRET",
            port=-1,
            languages="en,SECRET",
        )
    assert {item.where for item in caught.value.items} == {"mode", "timezone", "issuer", "port", "languages"}
    assert "SECRET" not in str(caught.value) + repr(caught.value.items)


@pytest.mark.parametrize(
    "text", ["gate.begun", "gate.begun=raise", "gate.begun=kill:0", "gate.begun=kill,", "Gate=kill"]
)
def test_a_failpoint_that_is_none_is_refused_in_words(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is opened, and not as a crash."""
    monkeypatch.setenv("HUB_FAILPOINTS", text)
    with pytest.raises(HubError) as caught:
        load()
    assert [item.where for item in caught.value.items] == ["failpoints"]


def test_a_misspelt_variable_is_refused() -> None:
    """HUB_DEV_SIGNIN would else be ignored, and its writer none the wiser."""
    with pytest.raises(HubError) as caught:
        load({"HUB_DEV_SIGNIN": "true", "PATH": "/bin", "HUB_PORT": "1"})
    assert [item.where for item in caught.value.items] == ["HUB_DEV_SIGNIN"]


def started_with(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Load the settings in a fresh process, as a hub does, and print three of them."""
    code = (
        "from hub.core.errors import HubError\n"
        "from hub.settings import load\n"
        "try:\n    s = load(); print(s.port, s.mode, *s.languages)\n"
        "except HubError as e:\n    print(*(i.where for i in e.items))\n"
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, env=clean | variables, capture_output=True, text=True, check=True)


def test_variables_go_before_the_file_and_the_file_before_the_defaults(tmp_path: Path) -> None:
    """hub.toml in the working directory is read by itself; a variable overrides it."""
    (tmp_path / "hub.toml").write_text('mode = "development"\nport = 7001\nlanguages = ["en", "ar"]\n')
    assert started_with(tmp_path).stdout.split() == ["7001", "development", "en", "ar"]
    assert started_with(tmp_path, HUB_PORT="7002", HUB_LANGUAGES="ru, zh").stdout.split() == [
        "7002",
        "development",
        "ru",
        "zh",
    ]


@pytest.mark.parametrize(
    ("content", "where"), [("prot = 1\n", "prot"), ("port = = 1\n", "settings file"), (None, "HUB_FILE")]
)
def test_a_settings_file_with_a_typo_or_not_there_is_refused(tmp_path: Path, content: str | None, where: str) -> None:
    """A key that no setting has, a line that is not TOML, a file that is absent: each is named, none is skipped."""
    path = tmp_path / "named.toml"
    if content is not None:
        path.write_text(content)
    assert started_with(tmp_path, HUB_FILE=str(path)).stdout.strip() == where


def test_settings_never_change_after_they_are_read() -> None:
    """They are frozen: what was checked is what runs."""
    settings = load({}, mode="development")
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1  # type: ignore[misc]  # the assignment that must fail


UNITS = (
    "_s", "_ms", "_bytes", "_days", "_hours", "_events", "_shards", "_max", "_page", "_outstanding", "_burst", "port",
    "_partitions", "_replication", "_insync", "_level",
)  # fmt: skip


def test_every_number_says_its_unit_and_every_knob_its_reason() -> None:
    """The unit is last in the name, or the name says what is counted; the description is a sentence or two."""
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert len(field.description) > 20, name
        if field.annotation is int:
            assert name.endswith(UNITS), name


def test_paths_that_are_not_set_lie_in_the_data_directory(tmp_path: Path) -> None:
    """One directory is one hub: store, key and socket follow data_dir unless they are named."""
    settings = load({}, mode="development", data_dir=tmp_path)
    assert (settings.store_path, settings.key_path, settings.admin_path) == (
        tmp_path / "hub.sqlite",
        tmp_path / "hub.key",
        tmp_path / "admin.sock",
    )
    named = load({}, mode="development", data_dir=tmp_path, store_dsn="sqlite:////var/lib/x.sqlite")
    assert named.store_path == Path("/var/lib/x.sqlite")
