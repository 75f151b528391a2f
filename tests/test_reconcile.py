"""What was taken back since a backup is found whatever the clocks said, and in whatever form it was taken back."""

from pathlib import Path

import pytest

from agency_adapters.keys import new_key, public_jwk
from hub.core.errors import HubError
from hub.identity.agency_keys import KEYS_PER_AGENCY
from hub.identity.people import _doubt, dispute, local_of, unlink
from hub.store.engine import Tx, unavailable
from tests.protocol_world import CONSENT, OBJECTION, S
from tests.restore_world import house, required

pytestmark = pytest.mark.engines


def test_a_link_stays_doubted_whose_settling_did_not_commit(tmp_path: Path) -> None:
    """It is noted before a commit what is taken back, and never what allows something again."""
    with house(tmp_path) as ours:
        ours.consents("A")
        backup = ours.back_up()
        dispute(ours.hub.register, agency=CONSENT.publisher, local_id="A")

        def settle_in_vain(tx: Tx) -> None:
            local = local_of(ours.hub.keys, CONSENT.publisher, "A")
            assert _doubt(ours.hub.register, tx, CONSENT.publisher, local, disputed=False) == "settled"
            raise unavailable("the store could not commit", "Try again.")

        with pytest.raises(HubError, match="could not commit"):
            ours.hub.store.write(settle_in_vain)
        ours.lose_to(backup)
        assert ours.reconcile()["acts"] == {"disputed": 1}
        assert ours.told("A") == set()


def test_what_was_taken_back_where_the_clock_is_behind_is_taken_back(tmp_path: Path) -> None:
    """Two processes' clocks may differ by what the hub bears; the order of their acts is not that of their moments."""
    with house(tmp_path) as ours:
        (consent,) = ours.consents("A")
        ours.consents("B", "C")
        ours.link("D", OBJECTION)
        ours.link("E", OBJECTION)
        backup = ours.back_up()
        ours.pass_by(-20)
        ours.withdraw(ours.person("A"), consent)
        unlink(ours.hub.register, agency=CONSENT.publisher, local_id="B")
        ours.object(ours.person("D", OBJECTION), OBJECTION)
        ours.pass_by(20)
        ours.lose_to(backup)
        assert ours.reconcile()["acts"] == {"objected": 1, "unlinked": 1, "withdrawn": 1}
        assert ours.told("A", "B", "C") == {ours.person("C")}
        assert ours.told("D", "E", matter=OBJECTION) == {ours.person("E", OBJECTION)}


def test_what_was_narrowed_before_the_backup_is_as_narrow_and_not_paused(tmp_path: Path) -> None:
    """The backup has it, although nothing has followed it."""
    with house(tmp_path) as ours:
        (consent,) = ours.consents("A")
        ours.pass_by()
        ours.narrow(ours.person("A"), consent, required(ours))
        ours.lose_to(ours.back_up())
        assert ours.reconcile()["acts"] == {}
        assert ours.told("A") == {ours.person("A")}


def test_what_was_lessened_since_by_another_consent_is_paused(tmp_path: Path) -> None:
    """Who says yes to less, or for a shorter time, in place of a consent that runs has taken something back by it."""
    with house(tmp_path) as ours:
        ours.consents("A", "B", "C", "D")
        ours.grant(ours.person("D"), items=required(ours))
        backup = ours.back_up()
        ours.grant(ours.person("A"), items=required(ours))
        ours.grant(ours.person("B"), until_us=ours.clock() + S)
        ours.grant(ours.person("C"))
        ours.lose_to(backup)
        assert ours.reconcile()["acts"] == {"paused": 2}
        assert ours.told("A", "B", "C", "D") == {ours.person("C"), ours.person("D")}


def test_a_key_that_another_one_took_the_place_of_opens_no_door(tmp_path: Path) -> None:
    """An agency rotated it under the same name, or had too many: the former one may be in wrong hands."""
    with house(tmp_path) as ours:
        keys = ours.hub.agency_keys

        def put(kid: str) -> None:
            ours.pass_by()
            keys.add("tax", {**public_jwk(new_key()), "kid": kid}, now_us=ours.clock())

        for kid in ("first", "second", "kept"):
            put(kid)
        put("kept")
        backup = ours.back_up()
        put("first")
        for number in range(KEYS_PER_AGENCY - 2):
            put(f"more-{number}")
        assert "second" not in {one.kid for one in keys.of("tax")}
        ours.lose_to(backup)
        assert ours.reconcile()["keys"] == ["tax/first", "tax/second"]
        counting = {one.kid for one in ours.hub.agency_keys.of("tax") if ours.clock() < one.until_us}
        assert counting & {"first", "second", "kept"} == {"kept"}
