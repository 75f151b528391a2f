"""Acknowledgements as files: `ack/<batch>.ack`, which names the numbers in it that were taken, or says `all`.

An empty file means all as well. It counts only once it has lain still for a moment: one that is being written is empty
at first. One that lists numbers ends with a line's end, so that half of it is never taken for the whole.
"""

from typing import NamedTuple

import orjson

from hub.core.errors import HubError, Kind
from hub.exchange.acknowledge import Acknowledgement, acknowledge
from hub.exchange.world import World
from hub.store.file_drop import Drop, batch_named, note_acknowledged
from hub.workers.folders import Place, age_us, move, names, put, read_small, remove

SUFFIX = ".ack"
EMPTY_STILL_US = 5_000_000  # of an empty one: far longer than opening a file and writing to it are apart
ACK_BYTES = 4_000_000
AT_ONCE = 500  # acknowledged in one transaction, as over HTTP by the client
ALL = b"all"


class Unfinished(NamedTuple):
    """It is being written; it is looked at again later."""


def take_acknowledgements(world: World, place: Place, drop: Drop, agency: str) -> int:
    """Take every acknowledgement there is; returns how many deliveries were acknowledged now.

    What cannot be taken is moved to `in/refused` with the reason. Raises HubError(UNAVAILABLE); nothing is lost then.
    """
    done = 0
    for name in names(place.ack):
        if not name.endswith(SUFFIX) or name.startswith("."):
            continue
        try:
            taken = _take(world, place, drop, agency, name)
        except HubError as refused:
            if refused.kind is Kind.UNAVAILABLE:
                raise
            _refuse(place, name, refused)
            continue
        if isinstance(taken, int):
            remove(place.ack, name)
            done += taken
    return done


def _take(world: World, place: Place, drop: Drop, agency: str, name: str) -> int | Unfinished:
    text = read_small(place.ack, name, ACK_BYTES)
    if not text and age_us(place.ack, name, world.clock()) < EMPTY_STILL_US:
        return Unfinished()
    if text and text.strip() != ALL and not text.endswith(b"\n"):
        return Unfinished()
    with world.store.read() as tx:
        found = batch_named(tx, drop.agency, name.removesuffix(SUFFIX))
    if found is None:
        raise _refusal("no batch of yours has this name", "ack-unknown", "Name it after the batch: BATCH.ack.")
    batch, named = found
    ids = dict(named)
    numbers = sorted(_numbers(text, ids)) if text.strip() not in (b"", ALL) else sorted(ids)
    done = 0
    for at in range(0, len(numbers), AT_ONCE):
        some = [Acknowledgement(number, ids[number].hex()) for number in numbers[at : at + AT_ONCE]]
        done += acknowledge(world, agency, some).acknowledged
    world.store.write(lambda tx: note_acknowledged(tx, batch, now_us=world.clock()))
    return done


def _numbers(text: bytes, ids: dict[int, bytes]) -> set[int]:
    numbers = set()
    for at, line in enumerate(text.split(), 1):
        if not line.isdigit() or len(line) > 18 or int(line) not in ids:
            raise _refusal(
                f"word {at} is no number of a delivery in this batch; nothing of it was acknowledged",
                "ack-number",
                "List numbers as they stand in the batch, one per line, or the word `all`.",
            )
        numbers.add(int(line))
    return numbers


def _refuse(place: Place, name: str, refused: HubError) -> None:
    reason = {"what": refused.what, "remedy": refused.remedy, "code": refused.code}
    put(place.refused, name[:200] + ".reason.json", [orjson.dumps(reason, option=orjson.OPT_APPEND_NEWLINE)])
    move(place.ack, name, place.refused)


def _refusal(what: str, code: str, remedy: str) -> HubError:
    return HubError(Kind.INVALID, f"the acknowledgement cannot be taken: {what}", remedy=remedy, code=code)
