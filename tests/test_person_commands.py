"""`hub person` and `hub deadletters`: a person's id is never an argument, and every answer says what is left to do."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hub.app import Hub, build
from hub.identity.people import NewLink, link
from hub.logs import open_log
from hub.settings import PREFIX, Settings
from tests.world import birth, link_family, town, until

HUB = Path(sys.executable).parent / "hub"
ID = "T-SECRET-4471"


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """The data directory of a hub that does not run, and knows one person of the tax office's."""
    hub = opened(tmp_path)
    assert link(hub.register, "population-register", [NewLink("tax", ID, "R-1", 2)]) == ["linked"]
    hub.close()
    return tmp_path


def opened(directory: Path) -> Hub:
    log = open_log(clock=lambda: 0, stream=io.StringIO())
    return build(Settings(mode="development", data_dir=directory), log=log)


def run(directory: Path, *words: str, said: str = "") -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    env = {**clean, "HUB_MODE": "development", "HUB_DATA_DIR": str(directory)}
    return subprocess.run(
        [str(HUB), *words], env=env, input=said, cwd=directory, capture_output=True, text=True, check=False
    )


def test_a_person_is_erased_where_no_hub_runs(house: Path) -> None:
    """The id comes on standard input; the answer says what was destroyed and what copies may still be."""
    done = run(house, "person", "erase", "tax", "--reason", "request", "--yes", said=f"{ID}\n")
    assert done.returncode == 0, done.stderr
    assert "Destroyed: 1 key, 2 names." in done.stdout
    assert "Nobody had been handed anything." in done.stdout
    assert "can lie on the bus until" in done.stdout
    assert "Backups of the store hold the wrapped key" in done.stdout
    assert ID not in done.stdout + done.stderr
    assert "1 erasure, every line whole" in run(house, "person", "ledger").stdout
    again = run(house, "person", "erase", "tax", "--reason", "request", "--yes", said=f"{ID}\n")
    assert again.stdout.startswith("Was erased before")


def test_nobody_is_erased_by_a_slip(house: Path) -> None:
    """Not without --yes and a yes, not for a reason that is not in the list, not where no id came."""
    for words, said in (
        (("--reason", "request"), f"{ID}\n"),
        (("--reason", "whim", "--yes"), f"{ID}\n"),
        (("--reason", "request", "--yes"), "\n"),
        (("--reason", "request", "--yes"), "T-0\n"),
    ):
        assert run(house, "person", "erase", "tax", *words, said=said).returncode == 1
    hub = opened(house)
    with hub.store.read() as tx:
        assert tx.rows("SELECT count(*) FROM person WHERE erased_us IS NOT NULL") == [(0,)]
    hub.close()


def test_a_hold_is_set_listed_obeyed_and_lifted(house: Path) -> None:
    """By a number of its own; the list names nobody."""
    held = run(
        house, "person", "hold", "tax", "--reference", "KG-12", "--reason", "court-order", "--until", "2030-06-30",
        said=f"{ID}\n",
    )  # fmt: skip
    assert held.stdout == "Hold 1 stands until 2030-07-01T00:00:00Z.\n", held.stderr
    listed = run(house, "person", "holds").stdout
    assert "KG-12" in listed
    assert ID not in listed
    refused = run(house, "person", "erase", "tax", "--reason", "request", "--yes", said=f"{ID}\n")
    assert refused.returncode == 1
    assert "KG-12 (court-order), until 2030-07-01" in refused.stderr
    assert run(house, "person", "unhold", "1").stdout == "Hold 1 is lifted.\n"
    assert run(house, "person", "holds").stdout == "No hold stands.\n"
    assert (
        run(house, "person", "hold", "tax", "--reference", "K", "--reason", "audit", "--until", "soon").returncode == 1
    )


def test_a_lost_ledger_stops_the_hub_until_it_is_rebuilt(house: Path) -> None:
    """The refusal names the remedy, and the remedy works."""
    run(house, "person", "erase", "tax", "--reason", "request", "--yes", said=f"{ID}\n")
    (house / "hub.key.erasures").unlink()
    refused = run(house, "person", "holds")
    assert refused.returncode == 1
    assert "1 erasures and the ledger beside the key of 0" in refused.stderr
    assert "hub person ledger --rebuild" in refused.stderr
    assert "1 of the 1 erasures" in run(house, "person", "ledger", "--rebuild").stdout
    assert run(house, "person", "holds").returncode == 0


def test_dead_letters_are_looked_after_where_no_hub_runs(house: Path) -> None:
    """An empty list says so; a number that is not there, or none, is refused."""
    assert run(house, "deadletters", "list").stdout == "No dead letters.\n"
    for words in (("show", "1"), ("retry", "1"), ("retry",), ("discard", "1", "--reason", "duplicate")):
        refused = run(house, "deadletters", *words)
        assert refused.returncode == 1
        assert "dead letter" in refused.stderr
    assert run(house, "deadletters", "retry", "--all").returncode == 0


def test_a_running_hub_tells_the_recipients_and_the_overdue_is_theirs_to_see(tmp_path: Path) -> None:
    """Erased beside a running hub: the delete is pulled at once with its due date; nothing is overdue before that."""
    from hub.web.admin_people import erase_on

    with town(tmp_path) as place:
        link_family(place)
        place.agency("civil-registry").publish([birth()])
        data = until(lambda: place.pull("family-benefits"), bool)
        done = erase_on(place.hub, agency="civil-registry", local_id="P-1", reason="request")
        assert done["told"]["family-benefits"] == 1
        told = [one for one in until(lambda: place.pull("family-benefits"), bool) if one.kind == "delete"]
        assert told[0].document["due"] == done["due"]
        assert told[0].document["data"]["fields"] == {data[0].id: ["parent_ids"]}
        assert '"event":"person.erased"' in place.said.getvalue()
        assert "P-1" not in place.said.getvalue()
        assert place.agency("family-benefits").agency()["overdue"] == []
