"""How much one agency may ask of the hub: a token bucket each for requests and for events, in memory, per process.

Counted before anything is written. Only agencies' doors call it: a citizen's withdrawal never waits behind an agency.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock

from hub.core.errors import HubError, Kind


@dataclass(frozen=True, slots=True)
class Quota:
    """What an agency may do. A bucket holds `*_burst`, and refills by `*_per_s` each second."""

    requests_per_s: float = 200
    requests_burst: int = 1_000
    events_per_s: float = 10_000
    events_burst: int = 50_000  # at least one whole batch, or that batch could never be sent


@dataclass(slots=True)
class _Bucket:
    requests: float
    events: float
    filled_at_s: float


@dataclass(frozen=True, slots=True)
class Quotas:
    """Every agency's buckets. `by_agency` replaces `usual` for the agencies it names. Thread safe."""

    usual: Quota = field(default_factory=Quota)
    by_agency: Mapping[str, Quota] = field(default_factory=dict)
    monotonic_s: Callable[[], float] = time.monotonic
    refused: Callable[[str], None] = lambda _agency: None  # told of each refusal, for the metrics
    _buckets: dict[str, _Bucket] = field(default_factory=dict, init=False, repr=False)
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)

    def take(self, agency: str, *, requests: int = 1, events: int = 0) -> None:
        """Count `requests` and `events` of an authenticated agency: both or, where one lacks room, neither.

        Raises `HubError` TOO_MANY with `retry_after_s` after which the same will pass if nothing else comes; TOO_LARGE
        when it can never pass.
        """
        quota = self.by_agency.get(agency, self.usual)
        if events > quota.events_burst:
            raise HubError(
                Kind.TOO_LARGE,
                f"{events} events at once are more than this agency may ever send in one request.",
                remedy=f"Send at most {quota.events_burst} events in one request.",
                code="batch-above-quota",
            )
        with self._lock:
            bucket = self._filled(agency, quota)
            wait_s = max(
                (requests - bucket.requests) / quota.requests_per_s, (events - bucket.events) / quota.events_per_s
            )
            if wait_s <= 0:
                bucket.requests -= requests
                bucket.events -= events
                return
        self.refused(agency)
        retry_after_s = max(1, math.ceil(wait_s))
        raise HubError(
            Kind.TOO_MANY,
            f"This agency sent more than {quota.requests_per_s:g} requests or {quota.events_per_s:g} events a second.",
            remedy=f"Send it again after {retry_after_s} s: nothing of it was stored. A batch counts as one request.",
            code="quota-used-up",
            retry_after_s=retry_after_s,
        )

    def _filled(self, agency: str, quota: Quota) -> _Bucket:
        """Return the agency's bucket with what has flowed in since it was last looked at. Call it under the lock."""
        now_s = self.monotonic_s()
        bucket = self._buckets.get(agency)
        if bucket is None:
            bucket = self._buckets[agency] = _Bucket(quota.requests_burst, quota.events_burst, now_s)
        passed_s = max(0.0, now_s - bucket.filled_at_s)
        bucket.requests = min(quota.requests_burst, bucket.requests + passed_s * quota.requests_per_s)
        bucket.events = min(quota.events_burst, bucket.events + passed_s * quota.events_per_s)
        bucket.filled_at_s = now_s
        return bucket
