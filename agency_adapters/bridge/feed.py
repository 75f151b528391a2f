"""Hub to topics: a page of deliveries is acknowledged to the hub only once the cluster has all of it (acks=all).

Killed in between, the page comes again and is produced again, each under its CloudEvents id, by which consumers drop
repeats. Deliveries of one person stay in order, also where one of them is refused: those after it are not sent before.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from kafka.errors import KafkaError

from agency_adapters.bridge.cluster import DELIVERY_MS, open_producer, reaching, refusal
from agency_adapters.bridge.config import Access, Feed
from agency_adapters.bridge.records import key_of, record_of
from agency_adapters.client import PAGE_DELIVERIES, HubClient
from agency_adapters.results import Delivery

ANSWER_S = DELIVERY_MS / 1000 + 5  # for one answer: the library gives up after DELIVERY_MS by itself
REMEMBERED = 10 * PAGE_DELIVERIES


class Feeder:
    """One hub, one cluster. Connects when it is first needed; after a failure, anew."""

    def __init__(
        self, client: HubClient, access: Access, feed: Feed, *, tell: Callable[[str], None] = lambda _kind: None
    ) -> None:
        """Connect to nothing yet. `tell` hears of kinds that the configuration does not name."""
        self._client, self._access, self._feed, self._tell = client, access, feed, tell
        self._producer: Any = None
        self._there: set[tuple[str, str]] = set()  # what the cluster has and the hub does not know of yet

    def round(self, *, wait_s: int = 0) -> Counter[str]:
        """Take what is there, waiting up to `wait_s` (0..30) for the first. Returns how many `produced`, `not_handled`.

        1. connect: what were pulled before would only wait   2. pull a page   3. leave out kinds that are not handled
        4. produce, and wait for the answers                  5. acknowledge the page
        Raises `ClusterRefused` and whatever the client raises: nothing of its page is acknowledged then.
        """
        counts: Counter[str] = Counter(produced=0, not_handled=0)
        while True:
            self._connect()
            page = self._client.pull(PAGE_DELIVERIES, wait_s)
            wait_s = 0  # the wait is for the first
            handled = [one for one in page.deliveries if one.kind in self._feed.kinds]
            for one in page.deliveries:
                if one.kind not in self._feed.kinds:
                    counts["not_handled"] += 1
                    self._tell(one.kind)
            counts["produced"] += self.produce([one for one in handled if (one.id, one.kind) not in self._there])
            if handled:
                self._client.acknowledge(handled)
                self._there -= {(one.id, one.kind) for one in handled}
            if not (page.more and handled):
                return counts

    def produce(self, deliveries: Sequence[Delivery]) -> int:
        """Produce, one person's deliveries one after the other. Returns how many; raises `ClusterRefused`."""
        if len(self._there) > REMEMBERED:
            self._there.clear()
        for wave in waves(deliveries):
            self.produce_wave(wave)
        return len(deliveries)

    def produce_wave(self, deliveries: Sequence[Delivery]) -> None:
        """Produce one delivery of each person, and wait until the cluster has all of them."""
        self._connect()
        answers: list[tuple[Delivery, Any]] = []
        failed: tuple[Delivery, BaseException] | None = None
        for one in deliveries:
            record = record_of(one, self._feed.form)
            try:
                topic = self._feed.topic_of(one.type)
                sent = self._producer.send(topic, key=record.key, value=record.value, headers=record.headers)
            except (KafkaError, OSError) as error:
                failed = failed or (one, error)
            else:
                answers.append((one, sent))
        for one, sent in answers:
            try:
                sent.get(timeout=ANSWER_S)
            except (KafkaError, OSError) as error:
                failed = failed or (one, error)
            else:
                self._there.add((one.id, one.kind))
        if failed is not None:
            self.close()
            one, cause = failed
            raise refusal(f"take delivery {one.id} into topic {self._feed.topic_of(one.type)}", cause) from None

    def close(self) -> None:
        """Leave the cluster. The next round connects anew."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with reaching("be left"):
                producer.close(timeout=1)

    def _connect(self) -> None:
        if self._producer is None:
            self._producer = open_producer(self._access, self._feed.all_topics())


def waves(deliveries: Sequence[Delivery]) -> list[list[Delivery]]:
    """Split so that no wave has two deliveries of one person, and each person's stay in order."""
    found: list[list[Delivery]] = []
    had: Counter[str] = Counter()
    for one in deliveries:
        at = had[key_of(one)]
        had[key_of(one)] += 1
        if at == len(found):
            found.append([])
        found[at].append(one)
    return found
