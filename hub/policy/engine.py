"""What the hub that runs needs of a policy engine, besides what the exchange needs (`hub.ports.Policy`)."""

from typing import Protocol

from hub.policy.compiled import Compiled
from hub.ports import Policy


class Engine(Policy, Protocol):
    """In process or behind a server."""

    @property
    def compiled(self) -> Compiled:
        """The build whose answers these are."""

    def probe(self) -> None:
        """Ask for nothing: whether it answers, and under this revision. Raises as `ask` does."""

    def close(self) -> None:
        """Let everything go; later questions raise HubError(UNAVAILABLE)."""
