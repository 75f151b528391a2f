"""A real OPA server for tests: on loopback and a free port, with the hub's signed bundle or with a configuration."""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.build_policies import find_opa
from deploy.engines import launch
from hub.core.agreement import Catalogue
from hub.identity.bundle_key import bundle_key
from hub.policy.bundle import signed_bundle
from hub.policy.compiled import read_compiled
from hub.policy.embedded import EmbeddedPolicy
from hub.policy.engine import Engine
from hub.policy.opa import OpaServer
from hub.policy.papers import data_of
from hub.policy.server import ServerPolicy
from hub.ports import Bundle
from tests.decision_vectors import COMPILED

KEY = bundle_key(b"a test's own secret of 32 bytes.")
ENGINES = ("embedded", "server")


def opa_binary() -> str:
    """Find OPA. Without one the test that asks is skipped, or fails where HUB_REQUIRE_OPA=1 demands it."""
    found = find_opa()
    if found is None:
        absent = "no OPA binary in OPA, .tools/bin or PATH: `make policies` installs it"
        (pytest.fail if os.environ.get("HUB_REQUIRE_OPA") == "1" else pytest.skip)(absent)
        raise AssertionError
    return found


class Opa:
    """One OPA server on an address of its own, which it keeps when it is killed and started again."""

    def __init__(
        self, directory: Path, flags: Sequence[str], config: Mapping[str, Any], variables: Mapping[str, str]
    ) -> None:
        self._directory, self._flags, self._config, self._variables = directory, flags, config, variables
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        opa_binary()  # skips the test that has none
        self._engine = launch.opa(self._directory, flags=self._flags, config=self._config, variables=self._variables)
        self.url = self._engine.address

    def configure(self, config: Mapping[str, Any]) -> None:
        """Give it another configuration, for its next start."""
        self._config = config

    def kill(self) -> None:
        self._engine.kill()

    def said(self) -> str:
        return self._engine.log.read_text()

    def hold(self, catalogue: Catalogue) -> None:
        """Give it policy and catalogue through its API: quicker than a bundle where many are tried."""
        give(self.url, catalogue)

    def refuses_writing(self) -> bool:
        """Say whether its API refuses to change what a bundle owns: only the bundle's own service may."""
        return httpx.put(f"{self.url}/v1/data/revision", json="sha256:forged").status_code == httpx.codes.BAD_REQUEST


def give(url: str, catalogue: Catalogue) -> None:
    """Give the OPA at this address policy and catalogue through its API."""
    compiled = read_compiled(COMPILED)
    with httpx.Client(base_url=url) as client:
        for name, document in data_of(compiled, catalogue).items():
            client.put(f"/v1/data/{name}", json=document).raise_for_status()
        for name, source in sorted(compiled.rego.items(), key=lambda one: one[0] == "release.rego"):  # calls the rest
            client.put(f"/v1/policies/{name}", content=source).raise_for_status()


@contextmanager
def opa(
    bundle: Bundle | None = None,
    *,
    flags: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[Opa]:
    """Run OPA until the block ends, over a bundle whose signature it verifies, or over nothing yet."""
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        arguments = list(flags)
        if bundle is not None:
            (directory / "bundle.tar.gz").write_bytes(bundle.content)
            (directory / "key.pem").write_text(bundle.pem)
            arguments += ["--verification-key", str(directory / "key.pem"), "--verification-key-id", bundle.kid]
            arguments += ["--signing-alg", bundle.algorithm, "--bundle", str(directory / "bundle.tar.gz")]
        started = Opa(directory, arguments, {}, environment or {})
        try:
            yield started
        finally:
            started.kill()


def bundle_of(catalogue: Catalogue) -> Bundle:
    return signed_bundle(read_compiled(COMPILED), catalogue, KEY)


@contextmanager
def engine(kind: str, catalogue: Catalogue) -> Iterator[Engine]:
    """Run an engine of `ENGINES` over this catalogue until the block ends."""
    if kind == "embedded":
        embedded = EmbeddedPolicy(catalogue, COMPILED)
        try:
            yield embedded
        finally:
            embedded.close()
        return
    with opa(bundle_of(catalogue)) as started:
        served = ServerPolicy(catalogue, COMPILED, OpaServer(started.url))
        try:
            yield served
        finally:
            served.close()
