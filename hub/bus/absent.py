"""The bus of a process that has none: it hands out, calls agencies or lets go, and never touches intake."""

from collections.abc import Collection, Sequence

from hub.core.errors import HubError, Item, Kind
from hub.ports import Batch, Behind, Owned, Record


class NoBus:
    """See `hub.ports.Bus`. What needs one is refused, for whoever asks is in the wrong process."""

    def publish(self, records: Sequence[Record]) -> None:  # noqa: ARG002 - refused, whatever it is
        """See `Bus.publish`."""
        raise _elsewhere()

    def poll(self, limit: int, wait_s: float) -> Batch:  # noqa: ARG002 - refused, whatever it is
        """See `Bus.poll`."""
        raise _elsewhere()

    def ends(self, topic: str) -> dict[str, int]:  # noqa: ARG002 - refused, whatever it is
        """See `Bus.ends`."""
        raise _elsewhere()

    def rewind(self) -> None:
        """See `Bus.rewind`. Nothing was polled."""

    def acknowledge(self, owned: Sequence[Owned]) -> None:
        """See `Bus.acknowledge`. Nothing was polled."""

    def backlog(self) -> int:
        """See `Bus.backlog`. It is counted elsewhere."""
        return 0

    def behind(self) -> Behind:
        """See `Bus.behind`. Others know."""
        return Behind(0, 0)

    def watch(self) -> None:
        """Count nothing."""

    def follow(self, topics: Collection[str]) -> None:
        """See `Bus.follow`. Nothing is polled."""

    def troubles(self) -> tuple[Item, ...]:
        """See `Bus.troubles`. Its troubles are others'."""
        return ()

    def decided(self) -> int:
        """Count what retention may drop: the brokers drop by age."""
        return 0

    def drop_decided(self, limit: int) -> int:
        """Drop nothing."""
        del limit
        return 0

    def close(self) -> None:
        """See `Bus.close`. There is nothing."""


def _elsewhere() -> HubError:
    return HubError(
        Kind.UNAVAILABLE,
        "this process of the hub has no bus",
        remedy="Ask a process of the parts web or gate.",
        code="bus-elsewhere",
    )
