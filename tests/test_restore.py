"""A restored store releases nothing until it is reconciled; then who withdrew, objected or was erased stays so."""

from pathlib import Path

import pytest

from hub.core.errors import HubError
from hub.exchange import officers
from hub.exchange.agreements import move, move_agency
from hub.exchange.handout import _choose_outside, _transaction, hand_out
from hub.exchange.turns import WHOLE
from hub.identity.people import dispute, settle, unlink
from hub.operations.counted import count_on
from hub.store.deliveries import DeliveryKind
from hub.store.engine import IDS
from hub.store.outside import CATALOGUE, Act
from hub.store.quarantine import beats, enter, put_beats
from tests import stores
from tests.protocol_world import CONSENT, OBJECTION
from tests.restore_world import house, required

pytestmark = pytest.mark.engines
SEALING_KEY = {"kty": "OKP", "crv": "X25519", "x": "hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo"}  # RFC 7748 6.1's own


def test_nothing_leaves_a_restored_store_before_it_is_reconciled(tmp_path: Path) -> None:
    """Neither what was queued in the backup nor what is published now; publishing goes on, and the hub says why."""
    with house(tmp_path) as ours:
        ours.consents("A")
        ours.publish("A")
        ours.decide()
        ours.lose_to(ours.back_up())
        assert "the store was restored from a backup" in ours.quarantined()
        for _ in range(2):  # a restart changes nothing
            with pytest.raises(HubError) as refused:
                hand_out(ours.hub.world, CONSENT.recipient, 500)
            assert refused.value.code == "quarantined"
            ours.publish("A")
            with pytest.raises(HubError) as undecided:
                ours.decide()
            assert undecided.value.code == "quarantined"
            ours.close()
            ours.open()
        assert ours.hub.bus.backlog() == 2
        ours.reconcile()
        assert ours.quarantined() == ""
        ours.decide()
        assert [one.kind for one in ours.pull() if one.kind != DeliveryKind.NOTICE] == [DeliveryKind.DATA] * 3


def test_a_hand_out_that_chose_before_the_quarantine_does_not_commit_in_it(tmp_path: Path) -> None:
    """It has the barrier's force: what was chosen, verdicts and all, is refused in the transaction."""
    with house(tmp_path) as ours:
        ours.consents("A")
        ours.publish("A")
        ours.decide()
        world = ours.hub.world
        number = world.catalogue.agencies[CONSENT.recipient].number
        chosen = _choose_outside(world, number, 500, WHOLE)
        assert chosen.judged
        ours.hub.store.write(lambda tx: enter(tx, "older", ours.clock()))
        with pytest.raises(HubError) as refused:
            ours.hub.store.write(lambda tx: _transaction(world, tx, number, 500, chosen, WHOLE))
        assert refused.value.code == "quarantined"
        assert ours.rows("SELECT count(*) FROM handout") == [(0,)]


def test_who_withdrew_or_was_erased_since_the_backup_gets_into_nobodys_hands(tmp_path: Path) -> None:
    """The withdrawn consent is withdrawn again with its receipt and its stop; the destroyed key stays destroyed."""
    with house(tmp_path) as ours:
        _, withdrawn, _ = ours.consents("A", "B", "C")
        assert ours.told("A", "B", "C") == {ours.person(who) for who in "ABC"}
        backup = ours.back_up()
        ours.withdraw(ours.person("B"), withdrawn)
        ours.erase(ours.person("C"))
        ours.lose_to(backup)
        assert ours.hub.open_keys.of([ours.person("C")]) == {}
        assert ours.shown()["acts"] == {"withdrawn": 1}
        done = ours.reconcile()
        assert (done["acts"], done["keys"], done["stopped"]) == ({"withdrawn": 1}, [], [])
        assert ours.told("A", "B", "C") == {ours.person("A")}
        (state,) = ours.rows("SELECT state FROM consent WHERE public = ?", (withdrawn,))
        assert state == ("withdrawn",)
        assert ours.rows("SELECT count(*) FROM receipt WHERE kind = 'withdraw'") == [(1,)]


def test_who_objected_without_ever_having_a_row_is_heard_again(tmp_path: Path) -> None:
    """The law allows it until the person objects; the backup knows nothing of that person's choices."""
    with house(tmp_path) as ours:
        ours.link("A", OBJECTION)
        ours.link("B", OBJECTION)
        backup = ours.back_up()
        ours.object(ours.person("A", OBJECTION), OBJECTION)
        ours.lose_to(backup)
        assert ours.reconcile()["acts"] == {"objected": 1}
        assert ours.told("A", "B", matter=OBJECTION) == {ours.person("B", OBJECTION)}


def test_what_was_paused_or_narrowed_since_is_paused(tmp_path: Path) -> None:
    """To what it was narrowed is lost, so nothing of it leaves until the person says."""
    with house(tmp_path) as ours:
        paused, narrowed, _ = ours.consents("A", "B", "C")
        backup = ours.back_up()
        ours.pause(ours.person("A"), paused)
        ours.narrow(ours.person("B"), narrowed, required(ours))
        ours.lose_to(backup)
        assert ours.reconcile()["acts"] == {"paused": 2}
        assert ours.told("A", "B", "C") == {ours.person("C")}


def test_a_consent_that_was_given_again_before_the_backup_stands(tmp_path: Path) -> None:
    """An act of before the backup is in it, and what followed it too: nothing is taken from anybody."""
    with house(tmp_path) as ours:
        (first,) = ours.consents("A")
        paused = ours.consents("B")[0]
        ours.pass_by()
        ours.withdraw(ours.person("A"), first)
        ours.pause(ours.person("B"), paused)
        ours.pass_by()
        ours.grant(ours.person("A"))
        ours.resume(ours.person("B"), paused)
        ours.pass_by()
        ours.lose_to(ours.back_up())
        assert ours.reconcile()["acts"] == {}
        assert ours.told("A", "B") == {ours.person("A"), ours.person("B")}


def test_a_withdrawal_counts_although_it_was_paused_or_given_again_since(tmp_path: Path) -> None:
    """The grant is lost, so the strongest of what was said since the backup is what is known."""
    with house(tmp_path) as ours:
        (first,) = ours.consents("A")
        backup = ours.back_up()
        ours.withdraw(ours.person("A"), first)
        ours.pass_by()
        ours.pause(ours.person("A"), ours.grant(ours.person("A")))
        ours.lose_to(backup)
        assert ours.reconcile()["acts"] == {"withdrawn": 1}
        assert ours.told("A") == set()


def test_a_link_that_was_undone_or_doubted_since_carries_nothing(tmp_path: Path) -> None:
    """What was doubted and settled before the backup stays settled."""
    with house(tmp_path) as ours:
        ours.consents("A", "B", "C")
        ours.pass_by()
        dispute(ours.hub.register, agency=CONSENT.publisher, local_id="C")
        ours.pass_by()
        settle(ours.hub.register, agency=CONSENT.publisher, local_id="C")
        backup = ours.back_up()
        unlink(ours.hub.register, agency=CONSENT.publisher, local_id="A")
        dispute(ours.hub.register, agency=CONSENT.publisher, local_id="B")
        ours.lose_to(backup)
        third = ours.person("C")
        assert ours.reconcile()["acts"] == {"disputed": 1, "unlinked": 1}
        assert ours.told("A", "B", "C") == {third}


def test_what_was_suspended_or_ended_since_is_stopped_by_name(tmp_path: Path) -> None:
    """Agencies and agreements in the flag file, keys in the store; whose sealing key was changed is stopped as well."""
    with house(tmp_path) as ours:
        ours.consents("A")
        (officer,) = (one["kid"] for one in officers.listed(ours.hub.agreements) if one["agency"] == "tax")
        backup = ours.back_up()
        move(ours.hub.agreements, "AGR-2", "suspend")
        move_agency(ours.hub.agreements, CONSENT.recipient, "suspend")
        officers.end(ours.hub.agreements, "tax", officer)
        ours.hub.sealing_keys.put("vehicles", SEALING_KEY, now_us=ours.clock(), noted=lambda _tx, _kid: None)
        ours.lose_to(backup)
        done = ours.reconcile()
        assert done["stopped"] == [f"agency {CONSENT.recipient}", "agency vehicles", "agreement AGR-2"]
        assert done["keys"] == [f"tax/{officer}"]
        with pytest.raises(HubError) as refused:
            ours.told("A")
        assert refused.value.code == "releases-stopped"
        (until_us,) = ours.rows("SELECT until_us FROM officer_key WHERE agency = 'tax' AND kid = ?", (officer,))
        assert until_us[0] <= ours.clock()


def test_numbers_go_on_beyond_all_that_were_given_out(tmp_path: Path) -> None:
    """A recipient's old acknowledgement settles nothing else, and no audit row has two meanings."""
    with house(tmp_path) as ours:
        ours.consents("A")
        ours.told("A")
        backup = ours.back_up()
        ours.publish(*["A"] * 5)
        ours.decide()
        last = max(one.number for one in ours.pull())
        ids = {
            table: ours.rows(f"SELECT coalesce(max({column}), 0) FROM {table}")[0][0] for table, column in IDS.items()
        }
        ours.lose_to(backup)
        ours.reconcile()
        ours.publish("A")
        ours.decide()
        assert min(one.number for one in ours.pull()) > last
        for table in ("audit", "delivery"):
            assert ours.rows(f"SELECT count(*) FROM {table} WHERE id > ?", (ids[table],))[0][0] > 0
            (row,) = ours.rows(f"SELECT min(id) FROM {table} WHERE id > ?", (ids[table],))
            assert row[0] > ids[table] + 1_000, "skipped in a block"


def test_everybody_is_signed_out(tmp_path: Path) -> None:
    """Who signed out since the backup would be signed in again."""
    with house(tmp_path) as ours:
        row = (b"token", "{}", b"csrf", 2**62)
        ours.hub.store.write(lambda tx: tx.insert("session(token, principal, csrf, expires_us)", [row]))
        ours.lose_to(ours.back_up())
        assert ours.rows("SELECT count(*) FROM session") == [(0,)]


def test_every_agency_is_told_since_when(tmp_path: Path) -> None:
    """So that publishers send again what the store does not know any more."""
    with house(tmp_path) as ours:
        ours.lose_to(ours.back_up())
        ours.reconcile()
        assert [one.kind for one in ours.pull()] == [DeliveryKind.NOTICE]
        (count,) = ours.rows("SELECT count(*) FROM delivery WHERE kind = ?", (DeliveryKind.NOTICE.value,))
        assert count[0] == len(ours.hub.approved().agencies)


def test_a_store_that_was_put_back_by_hand_is_noticed(tmp_path: Path) -> None:
    """The marks beside the key have counted further, and a reason cannot be reconciled away twice."""
    with house(tmp_path) as ours:
        ours.consents("A")
        ours.lose_to(ours.back_up(), quietly=True)
        assert "older than what this hub has given out" in ours.quarantined()
        assert "store.quarantined" in ours.said.getvalue()
        ours.reconcile()
        with pytest.raises(HubError) as refused:
            ours.reconcile()
        assert refused.value.code == "not-quarantined"
        ours.close()
        ours.open()
        assert ours.quarantined() == ""


def test_a_copy_that_a_running_hub_made_of_itself_is_older_after_a_minute(tmp_path: Path) -> None:
    """It counts on while it runs, so that a snapshot of the disk is known too."""
    with house(tmp_path) as ours:
        with ours.hub.store.read() as tx:
            before = beats(tx)
        assert (
            count_on(ours.hub.store, ours.hub.marks, clock=ours.clock, salt=ours.hub.act_salt, log=ours.hub.log) is None
        )
        ours.hub.store.write(lambda tx: put_beats(tx, before))
        held = ours.hub.count_on()
        assert held is not None
        assert held.why == "older"


def test_a_crash_between_store_and_marks_is_no_restore(tmp_path: Path) -> None:
    """The store counts first; one that is ahead of the marks is the newest."""
    with house(tmp_path) as ours:
        ours.hub.store.write(lambda tx: put_beats(tx, beats(tx) + 1))
        ours.hub.store.close()  # killed: the marks do not follow
        ours.open()
        assert ours.quarantined() == ""


def test_a_store_without_its_marks_is_in_quarantine(tmp_path: Path) -> None:
    """Nobody can say then what it has forgotten; the operator may."""
    with house(tmp_path) as ours:
        ours.close()
        ours.hub.marks.path.unlink()
        ours.open()
        assert "the marks beside the key are gone" in ours.quarantined()
        ours.close()
        ours.open()
        assert "the marks beside the key are gone" in ours.quarantined()
        ours.reconcile()
        assert ours.quarantined() == ""


def test_an_older_catalogue_is_not_reconciled(tmp_path: Path) -> None:
    """It may allow more than the one that was approved last: that one first."""
    with house(tmp_path) as ours:
        approvals = [act.name for act in ours.hub.marks.acts() if act.kind == CATALOGUE]
        assert approvals == [ours.hub.approved().digest]
        backup = ours.back_up()
        ours.hub.marks.note(Act(CATALOGUE, "f" * 64, ours.clock()))  # as an approval does in its transaction
        ours.lose_to(backup)
        with pytest.raises(HubError) as refused:
            ours.reconcile()
        assert refused.value.code == "restored-catalogue"
        assert ours.quarantined()


def test_a_withdrawal_in_quarantine_is_one(tmp_path: Path) -> None:
    """Citizens need not wait for the operator."""
    with house(tmp_path) as ours:
        (consent,) = ours.consents("A")
        ours.lose_to(ours.back_up())
        ours.withdraw(ours.person("A"), consent)
        assert ours.reconcile()["acts"] == {}
        assert ours.told("A") == set()


def test_a_withdrawal_that_cannot_be_kept_outside_is_none(tmp_path: Path) -> None:
    """It says so and changes nothing: one that a backup would take back was never promised."""
    with house(tmp_path) as ours:
        (consent,) = ours.consents("A")
        acts = ours.hub.marks._acts
        acts.rename(acts.with_name("away"))
        acts.mkdir()
        with pytest.raises(HubError) as refused:
            ours.withdraw(ours.person("A"), consent)
        assert refused.value.code == "marks-down"
        assert ours.rows("SELECT state FROM consent") == [("given",)]
        acts.rmdir()
        acts.with_name("away").rename(acts)
        ours.withdraw(ours.person("A"), consent)


def test_the_former_store_is_kept(tmp_path: Path) -> None:
    """Restoring deletes nothing."""
    with house(tmp_path) as ours:
        ours.consents("A")
        ours.lose_to(ours.back_up())
        if stores.on_postgres():
            found = ours.rows("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'replaced_%'")
            assert found == [(2,)]  # with its partitions'
        else:
            assert len(list(ours.directory.glob("hub.sqlite.replaced-*"))) == 1
