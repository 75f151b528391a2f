"""A real OPA server for tests: on loopback and a free port, with the hub's signed bundle or with a configuration."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx
import pytest

from deploy.build_policies import find_opa
from hub.core.agreement import Catalogue
from hub.demo.host import free_port
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

START_S = 20.0  # on a machine that does ten other things; alone it takes 0.1
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
    """One OPA process on an address of its own, which it keeps when it is killed and started again."""

    def __init__(self, directory: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self.directory, self._arguments, self._environment = directory, arguments, environment
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers. It checks for no newer version of itself: it reaches nothing."""
        words = [opa_binary(), "run", "--server", "--addr", f"127.0.0.1:{self.port}", "--skip-version-check"]
        with (self.directory / "opa.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*words, *self._arguments], stderr=log, stdout=log, env={**os.environ, **self._environment}
            )
        end_s = monotonic() + START_S
        while not self._answers():
            assert self.process.poll() is None, self.said()
            assert monotonic() < end_s, self.said()
            sleep(0.02)

    def configure(self, config: Mapping[str, Any]) -> None:
        """Give it another configuration, for its next start."""
        (self.directory / "config.json").write_text(json.dumps(config))
        self._arguments = [*self._arguments, "--config-file", str(self.directory / "config.json")]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def said(self) -> str:
        return (self.directory / "opa.log").read_text()

    def hold(self, catalogue: Catalogue) -> None:
        """Give it policy and catalogue through its API: quicker than a bundle where many are tried."""
        compiled = read_compiled(COMPILED)
        with httpx.Client(base_url=self.url) as client:
            for name, document in data_of(compiled, catalogue).items():
                client.put(f"/v1/data/{name}", json=document).raise_for_status()
            for name, source in sorted(
                compiled.rego.items(), key=lambda one: one[0] == "release.rego"
            ):  # calls the rest
                client.put(f"/v1/policies/{name}", content=source).raise_for_status()

    def refuses_writing(self) -> bool:
        """Say whether its API refuses to change what a bundle owns: only the bundle's own service may."""
        return httpx.put(f"{self.url}/v1/data/revision", json="sha256:forged").status_code == httpx.codes.BAD_REQUEST

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=1.0).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False


@contextmanager
def opa(
    bundle: Bundle | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    flags: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[Opa]:
    """Run OPA until the block ends, over a bundle whose signature it verifies, a configuration, or nothing."""
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        arguments = list(flags)
        if config is not None:
            (directory / "config.json").write_text(json.dumps(config))
            arguments += ["--config-file", str(directory / "config.json")]
        if bundle is not None:
            (directory / "bundle.tar.gz").write_bytes(bundle.content)
            (directory / "key.pem").write_text(bundle.pem)
            arguments += ["--verification-key", str(directory / "key.pem"), "--verification-key-id", bundle.kid]
            arguments += ["--signing-alg", bundle.algorithm, "--bundle", str(directory / "bundle.tar.gz")]
        started = Opa(directory, arguments, environment or {})
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
