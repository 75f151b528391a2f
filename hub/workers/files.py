"""The thread of the file drop: for each agency that has it, files out, acknowledgements, files in.

What stands in one agency's way (a folder that is gone, a disk that is full) stops nobody else, and is told by
`hub files list`. A large file goes in piece by piece, so that nobody waits for its end.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any, NamedTuple, Protocol

from hub.core.errors import HubError, Kind
from hub.exchange.publish import PublishDesk
from hub.exchange.world import World
from hub.identity.keys import Wrapping, keyed
from hub.logs import Log
from hub.metrics import Metrics
from hub.settings import Settings
from hub.store.file_drop import Drop, drops, there, turn_off, turn_on, unwanted
from hub.workers.files_ack import take_acknowledgements
from hub.workers.files_in import Intake, Taken, clear_begun, half_written, ready, sweep, take
from hub.workers.files_out import Limits, keep_house, recover, write_batch
from hub.workers.folders import Place, opened_place
from hub.workers.leases import Alone, Shared
from hub.workers.worker import Worker

US = 1_000_000
LOOK_S = 1.0  # between two rounds in which there was nothing to do
HOUSE_S = 60.0  # between two looks at what is over
AGAIN_S = 30.0  # after a failure of one agency's folder: nothing is handed out meanwhile, for it could not be written


class Quota(Protocol):
    def take(self, agency: str, *, requests: int, events: int) -> None: ...


class Running(Protocol):
    """What the file drop needs of the hub; what depends on the catalogue is asked for each time."""

    @property
    def settings(self) -> Settings: ...
    @property
    def metrics(self) -> Metrics: ...
    @property
    def log(self) -> Log: ...
    @property
    def wrapping(self) -> Wrapping: ...
    @property
    def world(self) -> World: ...
    @property
    def desk(self) -> PublishDesk: ...
    @property
    def quotas(self) -> Quota: ...


class _State:
    """What is remembered of one agency between two rounds."""

    def __init__(self) -> None:
        self.recovered = False
        self.out_at_s = self.house_at_s = self.again_at_s = 0.0
        self.trouble = ""
        self.half_written = (0, 0)
        self.reading: Iterator[Taken | None] | None = None


class Round(NamedTuple):
    """What one round needs of the settings."""

    base: Path
    limits: Limits
    intake: Intake


class FileDrops:
    """Every agency's files. Made by the composition root; `step` runs in the worker's thread."""

    def __init__(self, hub: Running, shared: Shared | None = None) -> None:
        """`shared` says whose files this process looks after, where there are several."""
        self._hub, self._shared = hub, shared or Alone()
        self._states: dict[int, _State] = {}

    def step(self, _stop: Event) -> float:
        """Go once over all agencies that have file drop; returns the pause until the next round."""
        base = self._hub.settings.file_drop_dir
        if base is None:
            return LOOK_S
        world, busy = self._hub.world, False
        with world.store.read() as tx:
            known, at_once = drops(tx), unwanted(tx)
        codes = {agency.number: agency.code for agency in world.catalogue.agencies.values()}
        self._shared.want("files", [_lease(codes[drop.agency]) for drop in known if drop.agency in codes])
        for drop in known:
            if drop.agency in codes and not self._shared.is_mine(_lease(codes[drop.agency])):
                self._states.pop(drop.agency, None)  # whoever begins clears away first what was not finished
                self._shared.done_with(_lease(codes[drop.agency]))
                continue
            state = self._states.setdefault(drop.agency, _State())
            if drop.agency in at_once:
                state.house_at_s = 0.0
            if drop.agency in codes and monotonic() >= state.again_at_s:
                busy |= self._one(Round(base, _limits(self._hub.settings), self._intake()), state, drop, codes)
        return 0.0 if busy else LOOK_S

    def _one(self, given: Round, state: _State, drop: Drop, codes: Mapping[int, str]) -> bool:
        """Do one agency's share; True where there is more to do at once."""
        code = codes[drop.agency]
        try:
            with opened_place(given.base, code) as place:
                busy = self._share(given, state, place, drop, code)
            state.trouble = ""
        except HubError as error:
            if state.trouble != error.what:
                self._hub.log.warning("files.waits", agency=code, code=error.code)
            state.trouble, state.reading = error.what, None
            state.again_at_s = monotonic() + (LOOK_S if error.code == "releases-stopped" else AGAIN_S)
            return False
        return busy

    def _share(self, given: Round, state: _State, place: Place, drop: Drop, code: str) -> bool:
        world = self._hub.world
        if not state.recovered:
            clear_begun(place)
            if cleared := recover(world, place, drop):
                self._hub.log.info("files.recovered", agency=code, count=cleared)
            state.recovered = True
        taken = take_acknowledgements(world, place, drop, code)
        if taken:
            self._hub.metrics.acknowledged.labels(self._hub.metrics.agency(code)).inc(taken)
        if monotonic() >= state.house_at_s:
            keep_house(world, place, drop, given.limits)
            sweep(place, world.clock(), given.limits.keep_us)
            state.half_written = half_written(place, world.clock())
            state.house_at_s = monotonic() + HOUSE_S
        if not drop.format:  # turned off: what is there is acknowledged, and removed in its time, and nothing else
            return False
        busy = self._in(given, state, place, code)
        return self._out(given, state, place, drop, code) or busy

    def _in(self, given: Round, state: _State, place: Place, code: str) -> bool:
        """Read the next piece of the file that is being read, or begin the next one."""
        if state.reading is None:
            waiting = ready(place)
            if not waiting:
                return False
            state.reading = _reading(given, code, waiting[0])
        ended = next(state.reading, _END)
        if isinstance(ended, Taken):
            metrics, label = self._hub.metrics, self._hub.metrics.agency(code)
            metrics.published.labels(label).inc(ended.accepted)
            metrics.publish_refused.labels(label).inc(ended.refused)
            if ended.refused_as:
                self._hub.log.warning("files.refused", agency=code, code=ended.refused_as)
            else:
                self._hub.log.info("files.taken", agency=code, events=ended.accepted, refusals=ended.refused)
        elif ended is _END:
            state.reading = None
        return True

    def _out(self, given: Round, state: _State, place: Place, drop: Drop, code: str) -> bool:
        if monotonic() < state.out_at_s:
            return False
        turn = partial(self._shared.turn, _lease(code))
        sent = write_batch(self._hub.world, self._hub.wrapping, place, drop, code, given.limits, turn)
        if sent.batch:
            metrics = self._hub.metrics
            metrics.handout_page.observe(sum(sent.kinds.values()))
            for kind, count in sent.kinds.items():
                metrics.deliveries.labels(metrics.agency(code), kind).inc(count)
            self._hub.log.info("files.written", agency=code, deliveries=sum(sent.kinds.values()))
        if not sent.full:
            state.out_at_s = monotonic() + (self._hub.settings.file_every_s if sent.batch else LOOK_S)
        return sent.full

    def _intake(self) -> Intake:
        def quota(agency: str, events: int) -> None:
            self._hub.quotas.take(agency, requests=0, events=events)

        return Intake(lambda: self._hub.desk, quota, self._hub.settings.file_in_bytes)

    # What an operator says and sees.
    def set(self, agency: str, *, form: str, bom: bool) -> dict[str, Any]:
        """Turn an agency's file drop on, in `ndjson` or `csv`, or off (""). Raises HubError NOT_FOUND, CONFLICT."""
        world = self._hub.world
        if agency not in world.catalogue.agencies:
            raise HubError(
                Kind.NOT_FOUND,
                "the catalogue in force has no agency of this code",
                where="agency",
                remedy="Codes stand in agencies.yaml; `hub catalogue apply` puts a new one in force.",
                code="agency-unknown",
            )
        number, leaf_key = world.catalogue.agencies[agency].number, world.keys.leaf
        if form and self._hub.settings.file_drop_dir is None:
            raise HubError(
                Kind.CONFLICT,
                "this hub has no directory for file drop",
                where="file_drop_dir",
                remedy="Set HUB_FILE_DROP_DIR and start the hub anew; deploy/README.md has the layout.",
                code="file-drop-nowhere",
            )
        if form:
            turn_on(world.store, number, form=form, bom=bom, clock=world.clock, salt=lambda n: keyed(leaf_key, n.hex()))
        else:
            turn_off(world.store, number, clock=world.clock, salt=lambda n: keyed(leaf_key, n.hex()))
        return {"agency": agency, "format": form, "bom": bom}

    def listed(self) -> list[dict[str, Any]]:
        """Say of each agency that has file drop how it is. Names of files are the agency's own and not repeated."""
        world = self._hub.world
        codes = {agency.number: agency.code for agency in world.catalogue.agencies.values()}
        with world.store.read() as tx:
            on = [drop for drop in drops(tx) if drop.format]
            found = [(drop, [one for one in there(tx, drop.agency) if one.acked_us is None]) for drop in on]
        now_us = world.clock()
        return [
            self._line(codes.get(drop.agency, ""), drop, [one.written_us for one in open_], now_us)
            for drop, open_ in found
        ]

    def _line(self, code: str, drop: Drop, written_us: list[int], now_us: int) -> dict[str, Any]:
        state = self._states.get(drop.agency, _State())
        count, oldest_us = state.half_written
        return {
            "agency": code,
            "format": drop.format,
            "bom": drop.bom,
            "since_us": drop.since_us,
            "unacknowledged_batches": len(written_us),
            "oldest_unacknowledged_s": (now_us - min(written_us)) // US if written_us else 0,
            "half_written": count,
            "oldest_half_written_s": oldest_us // US,
            "trouble": state.trouble or ("" if code else "the catalogue in force has no such agency"),
        }


_END = object()


def _lease(code: str) -> str:
    return f"files/{code}"


def _reading(given: Round, code: str, name: str) -> Iterator[Taken | None]:
    """Read one file over many rounds, with folders of its own open as long as it takes."""
    with opened_place(given.base, code) as place:
        yield from take(given.intake, place, code, name)


def _limits(settings: Settings) -> Limits:
    return Limits(
        batch_max=settings.file_batch_max,
        redeliver_us=settings.file_redeliver_hours * 3_600 * US,
        keep_us=settings.file_keep_days * 86_400 * US,
        outstanding=settings.file_outstanding,
    )


def files_worker(drops_of: FileDrops, log: Log) -> Worker:
    """Make the thread, unstarted."""
    return Worker("files", drops_of.step, log=log)
