"""The policy engine in process: the Rego under `policies/`, compiled to WASM, run by wasmtime.

The module is given the catalogue and the must-deny entries once, at the start, and subject-free questions after that.
"""

from collections.abc import Sequence
from pathlib import Path

import orjson
from opapywasm import UNDEFINED, OpaWasmError, OpaWasmPolicy, PolicyConfig

from hub.core.agreement import Catalogue
from hub.core.errors import HubError, Kind
from hub.core.question import Question, Verdict
from hub.policy.answers import believed, in_calls, unavailable
from hub.policy.compiled import ENTRYPOINT, REMEDY, read_compiled
from hub.policy.papers import data_of, revision_of

INSTANCES = 2  # the gate's and the hand-out's; an instance serves one thread at a time, the rest queue for it
BORROW_TIMEOUT_S = 2.0  # for a free instance: a hundred times a full call
EVALUATION_TIMEOUT_S = 2.0  # the same for the call itself; the policy has no loop that could come near
MEMORY_PAGES = 1024  # of 64 KiB: 64 MiB an instance, some fifty times what the demo's catalogue takes
DATA_BYTES = 10_000_000  # the catalogue as JSON; the demo's takes 20 kB


class EmbeddedPolicy:
    """Implements `hub.ports.Policy`. Safe to share between threads."""

    def __init__(self, catalogue: Catalogue, compiled_dir: Path) -> None:
        """Load and verify the module. Raises HubError(STARTUP) when it is not the module of its sources."""
        self.compiled = compiled = read_compiled(compiled_dir)
        self._revision = revision_of(compiled, catalogue)
        config = PolicyConfig(
            pool_size=INSTANCES,
            default_entrypoint=ENTRYPOINT,
            borrow_timeout_seconds=BORROW_TIMEOUT_S,
            max_memory_pages=MEMORY_PAGES,
            max_data_bytes=DATA_BYTES,
            eval_timeout_seconds=EVALUATION_TIMEOUT_S,
            parse_raw_json_input=False,  # the input is orjson's own
        )
        try:
            self._module = OpaWasmPolicy.from_wasm_bytes(compiled.wasm, config)
            self._module.set_data(orjson.dumps(data_of(compiled, catalogue)))
        except OpaWasmError as cause:
            raise HubError(
                Kind.STARTUP,
                "The compiled policy cannot be loaded.",
                where=str(compiled_dir / "policy.wasm"),
                remedy=REMEDY,
                code="policy-unloadable",
            ) from cause

    def revision(self) -> str:
        """Name policy and catalogue: "sha256:" and the hex digest over every source, the module and the catalogue."""
        return self._revision

    def ask(self, questions: Sequence[Question]) -> list[Verdict]:
        """Answer all, in order. Raises HubError(UNAVAILABLE) when any answer is undefined, malformed or late."""
        return in_calls(self._ask_some, questions)

    def close(self) -> None:
        """Free the module's instances and its clock thread; later questions raise HubError(UNAVAILABLE)."""
        self._module.close()

    def probe(self) -> None:
        """Ask for nothing: whether the engine answers, and under this revision. Raises as `ask` does."""
        self._ask_some([])

    def _ask_some(self, questions: Sequence[Question]) -> list[Verdict]:
        items = [question._asdict() for question in questions]
        try:
            answer = self._module.evaluate(orjson.dumps({"items": items}))
        except OpaWasmError as cause:
            raise unavailable("The policy engine did not answer.") from cause
        if answer is UNDEFINED:
            raise unavailable("The policy engine's answer is undefined.")
        return believed(answer, count=len(questions), revision=self._revision)
