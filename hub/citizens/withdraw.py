"""Withdraw: the revocation barrier. Once this has returned, no hand-out that relied on the consent commits any more.

In one transaction, in the fast lane:
1. the person's fence, exclusively                       2. the consent's last event, and what decisions read of it;
                                                            outside the store too: a backup must not revive it
3. what was opened under this stretch, read under the fence, for the receipt
4. a `stop` for the recipient, the audit row, the receipt; commit; only then it returns
Queues are left alone: every hand-out decides again under the same fence, and cancels.
"""

from consent.errors import ConsentError
from consent.receipt import receipt_from_bytes
from consent.record import withdraw
from hub.citizens.choices import Done
from hub.citizens.desk import (
    CitizenDesk,
    act_detail,
    key_within,
    own_consent,
    project,
    record_of,
    refused,
    save_step,
)
from hub.citizens.receipts import issue, kept_receipt
from hub.citizens.stops import opened_under, queue_stop
from hub.core.leaf import LeafKind
from hub.failpoints import reach
from hub.identity.acts import write_audit
from hub.identity.keys import keyed
from hub.identity.principal import Principal, by
from hub.store.engine import Fences, Lane, Tx
from hub.store.facts import PERSON_FENCE, of_persons, raise_fence
from hub.store.outside import Act


def withdraw_it(desk: CitizenDesk, principal: Principal, public: str) -> Done:
    """End a consent. A second withdrawal answers with the first receipt.

    Raises HubError NOT_FOUND (somebody else's), CONFLICT (never given, or over already by itself), UNAVAILABLE: then
    nothing has changed.
    """
    fences = Fences(changes=of_persons([principal.person]))  # a record of theirs, or the act is refused
    try:
        done = desk.store.write(lambda tx: _withdraw(desk, tx, principal, public), lane=Lane.URGENT, fences=fences)
    except ConsentError as error:
        raise refused(error) from error
    reach("withdraw.committed")
    desk.ring(done.recipient)
    return done


def _withdraw(desk: CitizenDesk, tx: Tx, principal: Principal, public: str) -> Done:
    reach("withdraw.begun")
    row = own_consent(tx, public, principal.person)
    key = key_within(desk, tx, principal.person)
    earlier = kept_receipt(tx, key, row.number, "withdraw")
    if earlier is not None:
        first = receipt_from_bytes(earlier)
        return Done(public, first.state.value, first, row.recipient)
    raise_fence(tx, PERSON_FENCE, row.person)  # 1.
    record, event = withdraw(record_of(tx, key, row), by=by(principal), at_us=desk.clock())  # 2.
    assert event is not None  # a second withdrawal was answered above
    row = save_step(tx, key, row, record, (event,))
    project(tx, row, record)
    recipient, purpose, moment_us = record.terms.recipient, record.terms.purpose, event.said.at_us
    tx.outside.note(Act("withdrawn", str(row.person), moment_us, row.recipient, row.purpose))
    opened = opened_under(  # 3.
        desk, tx, key, person=row.person, recipient=recipient, number=row.recipient, purpose=purpose,
        stretch=record.stretch,
    )  # fmt: skip
    reach("withdraw.recorded")
    receipt = issue(desk, tx, key, row, record, "withdraw", moment_us=moment_us, opened=opened)  # 4.
    detail = act_detail(record, "withdraw", opened_before=len(opened))
    audit = write_audit(tx, key, row.person, LeafKind.CONSENT, detail, at_us=moment_us)
    queue_stop(
        desk, tx, key, person=row.person, recipient=recipient, number=row.recipient, purpose=purpose,
        public=keyed(desk.keys.delivery, "stop", row.public), stretch=record.stretch, says={"consent": "withdrawn"},
        audit=audit, at_us=moment_us,
    )  # fmt: skip
    reach("withdraw.before_commit")
    return Done(public, record.state.value, receipt, row.recipient)
