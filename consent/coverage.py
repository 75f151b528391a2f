"""What a consent covers at a moment: the only thing the exchange ever asks of it."""

from typing import NamedTuple

from consent.record import Record, state_at
from consent.states import State


class Coverage(NamedTuple):
    """What may go, as far as this consent is concerned. In any state but `given` nothing may: no fields, acr 0."""

    state: State
    stretch: int  # of (person, recipient, purpose); compare with the stretch a delivery was promised under
    fields: frozenset[str]  # of the dataset asked about; derived ones by their own name
    until_us: int  # half-open: at this instant it is over
    acr: int  # assurance at the grant


NOTHING = Coverage(State.NONE, 0, frozenset(), 0, 0)


def covers(record: Record | None, dataset: str, now_us: int) -> Coverage:
    """Say what `record` covers of `dataset` at `now_us`. None: there is no record, so nothing.

    The end is a fact of time: at `until_us` itself the state is `expired`, whether or not anybody wrote it down. What
    was written down holds whatever the clock says, so a clock that lags revives nothing.
    """
    if record is None:
        return NOTHING
    state = state_at(record, now_us)
    if state is not State.GIVEN:
        return Coverage(state, record.stretch, frozenset(), 0, 0)
    fields = frozenset(field for of, field in record.items if of == dataset)
    return Coverage(state, record.stretch, fields, record.until_us, record.acr)
