"""`hub doctor` on set-ups that are broken for real: each is found, with a remedy, and looking changes nothing."""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from hub.app import build
from hub.clock import system_clock
from hub.commands.doctor import _away, looked_at
from hub.core.catalogue import from_document, to_document
from hub.engines import shipped_catalogue
from hub.logs import open_log
from hub.operations.doctor import authority, held
from hub.operations.findings import Finding
from hub.settings import DEMO_MARK, Settings
from hub.stop_flag import STOP_FLAG
from hub.store.agency_keys import FOR_EVER_US
from tests.opa_world import give, opa
from tests.test_serve import HUB, command, environment, serving

DAY_US = 86_400_000_000


def settings(folder: Path, **given: object) -> Settings:
    return Settings.model_validate({"mode": "development", "data_dir": folder, **given})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A hub's folder as it is after a first start and stop."""
    with Path("/dev/null").open("w") as nowhere:
        build(settings(tmp_path / "data"), log=open_log(clock=system_clock, stream=nowhere)).close()
    return tmp_path / "data"


def look(folder: Path, *, clock: Callable[[], int] = system_clock, **given: object) -> list[Finding]:
    return list(looked_at(settings(folder, **given), clock))


def wrong(found: list[Finding]) -> dict[str, str]:
    """Return what failed or is worth a look, by check; each has to have a remedy, and what passed has none."""
    assert all(bool(one.remedy) == (one.level != "PASS") for one in found)
    return {one.check: f"{one.level} {one.what}" for one in found if one.level != "PASS"}


def test_a_sound_hub_that_does_not_run_has_one_line_to_look_at(data: Path) -> None:
    """It says that none runs; everything else passes."""
    assert wrong(look(data)) == {"hub": "WARN none runs here"}


def test_looking_changes_nothing(data: Path) -> None:
    """The store, the keys and the folder's other files are byte for byte what they were."""

    def content() -> dict[str, str]:
        helpers = ("hub.sqlite-shm", "hub.sqlite-wal", "edge.sqlite-shm", "edge.sqlite-wal")  # SQLite's own, empty
        files = [path for path in data.iterdir() if path.is_file() and path.name not in helpers]
        return {path.name: sha256(path.read_bytes()).hexdigest() for path in files}

    before = content()
    look(data)
    assert content() == before


def test_a_key_of_another_store_is_named(data: Path) -> None:
    """Nothing would open; the line says which key it is and which it should be."""
    (data / "hub.key").write_bytes(urlsafe_b64encode(b"?" * 32) + b"\n")
    assert wrong(look(data))["key"].startswith("FAIL the key file holds another store's key: it is key ")


KEYS = {
    "gone": lambda path: path.unlink(),
    "open to others": lambda path: path.chmod(0o644),
    "no key": lambda path: path.write_text("hello\n"),
}


@pytest.mark.parametrize("spoil", KEYS.values(), ids=KEYS.keys())
def test_a_key_file_that_is_none_is_found(data: Path, spoil: Callable[[Path], object]) -> None:
    """Absent, readable by others, or not a key."""
    spoil(data / "hub.key")
    assert wrong(look(data))["key file"].startswith("FAIL the key file ")


def test_a_damaged_page_is_found(data: Path) -> None:
    """One page of an index that nothing else here reads: SQLite opens such a file, and only its own check finds it."""
    path = data / "hub.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        ((page,),) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'receipt_consent'").fetchall()
    overwrite(path, [page])
    assert wrong(look(data))["store"] == "FAIL SQLite finds it damaged (1 places at least)"


def test_many_damaged_pages_are_found(data: Path) -> None:
    """Whether its own check gets to the end or not."""
    overwrite(data / "hub.sqlite", range(3, (data / "hub.sqlite").stat().st_size // 4_096, 2))
    assert wrong(look(data))["store"].startswith("FAIL SQLite ")


def overwrite(path: Path, pages: Iterable[int]) -> None:
    """Put noise in the place of pages, which are counted from 1."""
    with path.open("r+b") as file:
        for page in pages:
            file.seek((page - 1) * 4_096)
            file.write(os.urandom(4_096))


@pytest.mark.parametrize("content", [b"", b"not a database at all, " * 500])
def test_a_file_that_is_no_store_is_found(data: Path, content: bytes) -> None:
    """An empty one and noise."""
    (data / "hub.sqlite").write_bytes(content)
    assert wrong(look(data))["store"].startswith("FAIL ")


def test_a_store_that_is_gone_is_told_from_one_that_never_was(data: Path, tmp_path: Path) -> None:
    """Its lock is still there: it ran once."""
    (data / "hub.sqlite").unlink()
    assert wrong(look(data))["store"] == "FAIL hub.sqlite is not there"
    assert wrong(look(tmp_path))["store"] == "WARN hub.sqlite is not there"


def changed(data: Path, sql: str) -> None:
    with closing(sqlite3.connect(data / "hub.sqlite")) as connection, connection:
        connection.execute(sql)


BROKEN = {
    "newer": ("UPDATE alembic_version SET version_num = '9999'", "schema", "FAIL written by a newer hub"),
    "older": ("UPDATE alembic_version SET version_num = '0002'", "schema", "WARN schema 0002; this version makes"),
    "no catalogue": ("DELETE FROM fact", "catalogue", "FAIL none is approved"),
    "other policy": ("UPDATE fact SET value = 'x' WHERE name = 'policy_revision'", "policy", "FAIL it is not the one"),
    "secrets": ("UPDATE hub_key SET wrapped = zeroblob(60)", "key", "FAIL the store's own keys are damaged"),
    "bus": ("INSERT INTO bus_topic VALUES (77, 'in.x.y')", "bus", "FAIL 1 topics have no position"),
    "unsigned": ("UPDATE agreement_state SET phase = 'unsigned'", "agreements", "WARN unsigned, so nothing leaves"),
    "catalogue lost": ("DELETE FROM catalogue_version WHERE kind = 'agencies'", "catalogue", "FAIL what is stored"),
}


@pytest.mark.parametrize(("sql", "check", "said"), BROKEN.values(), ids=BROKEN.keys())
def test_what_is_wrong_inside_the_store_is_found(data: Path, sql: str, check: str, said: str) -> None:
    """Another version, no catalogue or half of one, another policy, damaged secrets, a topic without a position."""
    changed(data, sql)
    assert wrong(look(data))[check].startswith(said)


WEAK = '{"crv":"Ed25519","kid":"a","kty":"OKP","x":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}'
SIGNED = (
    "INSERT INTO agreement_signature SELECT digest, 'witness', 'tax', 'a', '', 1 FROM agreement_proposal"
    " WHERE code = 'AGR-1' LIMIT 1"
)


def test_an_officers_key_under_which_anybody_can_sign_is_named_with_what_is_signed_with_it(data: Path) -> None:
    """From before such keys were refused: while it counts, and after it ended as long as a signature rests on it."""
    changed(data, f"INSERT INTO officer_key VALUES ('tax', 'a', 'A', 'B', '{WEAK}', 1, {FOR_EVER_US})")
    assert wrong(look(data))["officers"] == "FAIL anybody can sign under key a of tax"
    changed(data, "UPDATE officer_key SET until_us = 2 WHERE kid = 'a'")
    assert "officers" not in wrong(look(data))
    changed(data, SIGNED)
    assert wrong(look(data))["officers"] == (
        "FAIL anybody can sign under key a of tax, with which was signed: AGR-1 v1"
    )


def test_a_clock_that_went_back_or_was_never_set_is_found(data: Path) -> None:
    """The store's newest entry lies ahead of it; a second of difference is no news."""
    assert "clock" not in wrong(look(data, clock=lambda: system_clock() - 1_000_000))
    assert (
        "behind the store's newest entry: it went back"
        in wrong(look(data, clock=lambda: system_clock() - DAY_US))["clock"]
    )
    assert wrong(look(data, clock=lambda: 0))["clock"] == "FAIL it was never set"


def test_agreements_that_end_soon_have_ended_or_are_due_for_review_are_named(data: Path) -> None:
    """So that nobody finds out when nothing leaves any more."""
    found = look(data, clock=lambda: system_clock() + 20 * 366 * DAY_US)
    said = [one.what for one in found if one.check == "agreements"]
    assert any(what.startswith("over, so nothing leaves under them: AGR-") for what in said)
    assert any(what.startswith("due for review: AGR-") for what in said)


def test_a_flag_file_that_is_not_understood_is_the_reason_why_nothing_leaves(data: Path) -> None:
    """And one that is understood says what is stopped."""
    (data / STOP_FLAG).write_bytes(b"what?")
    assert wrong(look(data))["stop flag"].startswith("FAIL the flag file's last line is torn: everything is stopped")
    (data / STOP_FLAG).write_text('{"code":"tax","reason":"","scope":"agency","since_us":1}\n')
    assert wrong(look(data))["stop flag"] == "WARN stopped: tax"


def test_a_folder_that_others_may_write_into_is_found(data: Path) -> None:
    """They could stop the hub's releases, or let them go on."""
    data.chmod(0o777)
    assert wrong(look(data))["data_dir"] == "FAIL others may write into it (mode 777)"


AS_NOBODY = """
import json, os, sys
from pathlib import Path
from hub.clock import system_clock
from hub.commands.doctor import looked_at
from hub.settings import Settings
settings = Settings(mode="development", data_dir=Path(sys.argv[1]))
list(looked_at(settings, system_clock))  # loads what the other user may not be able to read
os.setuid(65534)
print(json.dumps(list(looked_at(settings, system_clock))))
"""


def as_nobody(folder: Path, *, closed: int) -> list[Finding]:
    """Look as a user who owns nothing, into a folder of this mode."""
    folder.chmod(closed)
    ran = subprocess.run(
        [HUB[0], "-c", AS_NOBODY, str(folder)], env=environment(folder), capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return [Finding(*one) for one in json.loads(ran.stdout)]


def test_a_folder_that_this_user_cannot_write_is_found(data: Path) -> None:
    """As another user, or on a mount that is read-only; the store in it is still looked into."""
    if os.geteuid() != 0:
        data.chmod(0o500)
        found = look(data)
    else:
        with tempfile.TemporaryDirectory() as open_to_all:
            Path(open_to_all).chmod(0o755)
            shutil.copytree(data, Path(open_to_all) / "data")
            for path in (Path(open_to_all) / "data").iterdir():
                path.chmod(0o644)
            found = as_nobody(Path(open_to_all) / "data", closed=0o755)
            shut = wrong(as_nobody(Path(open_to_all) / "data", closed=0o700))
        assert shut["store"].startswith("FAIL this user may not look at it")
    assert wrong(found)["data_dir"] == "FAIL it cannot be written by this user"
    assert ("store", "whole") in [(one.check, one.what) for one in found]


def test_a_damaged_local_store_is_found(data: Path) -> None:
    """Signing in and publishing need it; it can be moved away."""
    (data / "edge.sqlite").write_bytes(b"noise" * 1_000)
    assert wrong(look(data))["local store"] == "FAIL edge.sqlite is damaged"


def test_a_process_that_holds_the_store_and_does_not_answer_is_found(data: Path) -> None:
    """Beside it everything is read all the same."""
    with Path("/dev/null").open("w") as nowhere:
        hub = build(settings(data), log=open_log(clock=system_clock, stream=nowhere))
        try:
            assert held(data / "hub.sqlite")
            assert wrong(look(data)) == {"hub": "FAIL a process holds the store and does not answer at the socket"}
        finally:
            hub.close()
    assert not held(data / "hub.sqlite")


def test_unsafe_settings_are_listed_and_the_rest_is_looked_at_all_the_same(data: Path) -> None:
    """A start would refuse each of them by the same words."""
    (data / DEMO_MARK).touch()
    found = look(data, mode="production", dev_sign_in=True)
    said = [one.what for one in found if one.check == "settings"]
    assert len(said) >= 4
    assert "dev_sign_in: anybody could sign in as anybody" in said
    assert "schema" in {one.check for one in found}


def test_a_setting_that_cannot_be_read_is_the_only_finding(tmp_path: Path) -> None:
    """Exit code 1, one JSON object a line, nothing on standard error."""
    said = command(environment(tmp_path, HUB_PORT="eighty"), tmp_path, "doctor", "--json")
    assert (said.returncode, said.stderr) == (1, "")
    (one,) = [json.loads(line) for line in said.stdout.splitlines()]
    assert (one["level"], one["check"], one["what"][:5]) == ("FAIL", "settings", "port:")


def test_beside_a_running_hub_it_says_what_the_hub_says(tmp_path: Path) -> None:
    """All passes, and the socket is its own user's; when others may open that, it says so."""
    environ = environment(tmp_path)
    with serving(environ, tmp_path):
        said = command(environ, tmp_path, "doctor")
        assert said.returncode == 0, said.stdout
        assert "PASS  hub          runs and is ready" in said.stdout
        assert said.stdout.endswith("All well.\n")
        (tmp_path / "admin.sock").chmod(0o666)
        said = command(environ, tmp_path, "doctor")
        assert (said.returncode, "others may steer the hub (mode 666)" in said.stdout) == (1, True)


def test_engines_that_do_not_answer_are_named_with_why_and_what_to_do(data: Path) -> None:
    """Database, brokers and policy server, each by itself: that nobody listens is told from a name nobody knows."""
    found = look(
        data, store_dsn="postgresql://me@127.0.0.1:1/hub", bus="kafka", kafka_security="PLAINTEXT",
        kafka_bootstrap=("127.0.0.1:1", "no.such.host.invalid:9092"), policy="server", opa_url="http://127.0.0.1:1",
    )  # fmt: skip
    said = wrong(found)
    assert said["store"] == "FAIL the store does not answer: nobody listens at its address; nothing was changed"
    brokers = [one.what for one in found if (one.level, one.check) == ("FAIL", "brokers")]
    assert brokers[0] == "127.0.0.1:1: the machine is there, and nobody listens at this port"
    assert brokers[1] == "no.such.host.invalid:9092: its name is not known to this machine"
    assert said["policy server"] == (
        "FAIL The policy server cannot be reached: the machine is there, and nobody listens at this port"
    )


def test_one_broker_of_several_that_is_away_is_worth_a_look(data: Path) -> None:
    """The others are enough to begin with."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        there = f"127.0.0.1:{one.getsockname()[1]}"
        found = list(_away(settings(data, bus="kafka", kafka_bootstrap=(there, "127.0.0.1:1"))))
    assert [(finding.level, finding.what.partition(": ")[0]) for finding in found] == [("WARN", "127.0.0.1:1")]


def test_records_that_name_an_invented_authority_are_told_in_production() -> None:
    """There the default is somebody's mistake; elsewhere it is what it is for."""
    invented = Settings(mode="development")
    named = invented.model_copy(update={"mode": "production", "data_authority_contact": "help@authority.example"})
    unnamed = invented.model_copy(update={"mode": "production"})
    assert authority(invented) == []
    assert [one.level for one in authority(unnamed)] == ["WARN"]
    assert [one.level for one in authority(named)] == ["PASS"]


def test_a_policy_server_of_another_revision_is_told_from_one_that_is_right(data: Path) -> None:
    """It answers, and is not believed; given the hub's own catalogue it is well."""
    document = to_document(shipped_catalogue())
    document["purposes"]["FAM-ALLOW"] |= {"version": 2, "retention_days": 1_000}
    with opa() as started:
        give(started.url, from_document(document))
        said = wrong(look(data, policy="server", opa_url=started.url))["policy server"]
        assert said == "FAIL The policy server answers under another revision than the hub's"
        give(started.url, shipped_catalogue())
        assert "policy server" not in wrong(look(data, policy="server", opa_url=started.url))
