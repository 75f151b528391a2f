"""File drop out: from the queue to durable files with manifest and done-marker, beside the same rows as plain pages.

Both in this process and without HTTP, in turns, each recipient for both: what a pull does (pages of 500 handed out,
opened, written as JSON), and what a batch does on top (files, hash, fsync, rename, the note of what is in it).
"""

from pathlib import Path
from time import perf_counter

import orjson

from hub.bench.gate import drain
from hub.bench.measure import Figure, Result, Say, Sizes
from hub.bench.synthetic import RECIPIENTS, Synthetic, recipient
from hub.bench.whole import fresh
from hub.exchange.acknowledge import Acknowledgement, acknowledge
from hub.exchange.gate import Gate
from hub.exchange.handout import hand_out
from hub.exchange.opening import open_all
from hub.store.file_drop import Drop, turn_on
from hub.workers.files_ack import take_acknowledgements
from hub.workers.files_out import Limits, write_batch
from hub.workers.folders import Place, opened_place

GOAL = 10_000  # rows per second
PREPARED = 3  # times the events of a round: enough deliveries for every turn
LEAST_SHARE = 0.5  # of the events reach each recipient: 60 % do, drawn by chance
PAGE = 500


def measure(sizes: Sizes, directory: Path, say: Say) -> Result:
    turns = 2 * -(-sizes.rounds // RECIPIENTS) + 2  # of the recipient that is most often the one; two are not counted
    share = max(1, int(sizes.events * PREPARED * LEAST_SHARE / turns))
    say(f"making {sizes.people} people")
    with fresh(directory / "files", sizes) as made:
        made.warm()
        say(f"deciding {sizes.events * PREPARED} events beforehand")
        drain(made, Gate(made.world), sizes.events * PREPARED, seed=sizes.seed + 1)
        base = directory / "drop"
        base.mkdir()
        pulled, written = list[float](), list[float]()
        for at in range(-1, sizes.rounds):
            say(f"round {at + 1} of {sizes.rounds}")
            who = recipient(at % RECIPIENTS)
            found = _pull(made, who, share), _write(made, base, who, share)
            if at >= 0:
                pulled.append(found[0])
                written.append(found[1])
        synchronous = getattr(made.world.store, "synchronous", "FULL")
    ratios = tuple(files / pages for files, pages in zip(written, pulled, strict=True))
    figures = (
        Figure("file drop out", "rows/s", tuple(written), GOAL),
        Figure("the same as plain pages", "rows/s", tuple(pulled)),
        Figure("file drop to plain pages", "times", ratios),
    )
    return Result("files", figures, {"synchronous": synchronous, "rows_per_turn": share, "form": "ndjson"})


def _pull(made: Synthetic, who: str, share: int) -> float:
    """Take a share in pages, as a pull does; returns rows per second. Acknowledging is not counted."""
    wrapping, acks = made.world.keys.wrapping, list[Acknowledgement]()
    began = perf_counter()
    while len(acks) < share:
        page = hand_out(made.world, who, min(PAGE, share - len(acks)))
        leaving = open_all(made.world, page.opened, wrapping)
        orjson.dumps({"deliveries": [one.event for one in leaving], "more": page.more})
        acks += [Acknowledgement(one.opened.number, one.opened.public.hex()) for one in leaving]
        _expect(bool(leaving))
    took = perf_counter() - began
    for first in range(0, len(acks), PAGE):
        acknowledge(made.world, who, acks[first : first + PAGE])
    return share / took


def _write(made: Synthetic, base: Path, who: str, share: int) -> float:
    """Take a share as files; returns rows per second. Acknowledging is not counted."""
    world, wrapping = made.world, made.world.keys.wrapping
    drop = Drop(world.catalogue.agencies[who].number, "ndjson", bom=False, since_us=0)
    turn_on(world.store, drop.agency, form=drop.format, bom=False, clock=world.clock, salt=lambda nonce: nonce)
    done, batches = 0, list[str]()
    with opened_place(base, who) as place:
        began = perf_counter()
        while done < share:
            most = min(Limits().batch_max, share - done)
            sent = write_batch(world, wrapping, place, drop, who, Limits(batch_max=most))
            done += sum(sent.kinds.values())
            batches.append(sent.batch)
            _expect(bool(sent.batch))
        took = perf_counter() - began
        _acknowledge(made, base, place, drop, who, batches)
    return share / took


def _acknowledge(made: Synthetic, base: Path, place: Place, drop: Drop, who: str, batches: list[str]) -> None:
    for batch in batches:
        (base / who / "ack" / f"{batch}.ack").write_text("all\n")
    take_acknowledgements(made.world, place, drop, who)


def _expect(came: bool) -> None:
    if not came:
        raise RuntimeError("fewer deliveries are queued than this benchmark takes")
