"""The policy engine in process: the Rego under `policies/`, compiled to WASM, run by wasmtime.

The module is given the catalogue and the must-deny entries once, at the start, and subject-free questions after that.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from opapywasm import UNDEFINED, OpaWasmError, OpaWasmPolicy, PolicyConfig

from hub.core.agreement import Catalogue, Dataset
from hub.core.errors import HubError, Kind
from hub.core.question import Question, Verdict
from hub.policy.compiled import ENTRYPOINT, REMEDY, read_compiled

MOST_QUESTIONS = 500  # a call into the module; some 80 kB of input and 20 ms, far below every limit beneath
INSTANCES = 2  # the gate's and the hand-out's; an instance serves one thread at a time, the rest queue for it
BORROW_TIMEOUT_S = 2.0  # for a free instance: a hundred times a full call
EVALUATION_TIMEOUT_S = 2.0  # the same for the call itself; the policy has no loop that could come near
MEMORY_PAGES = 1024  # of 64 KiB: 64 MiB an instance, some fifty times what the demo's catalogue takes
DATA_BYTES = 10_000_000  # the catalogue as JSON; the demo's takes 20 kB


class EmbeddedPolicy:
    """Implements `hub.ports.Policy`. Safe to share between threads."""

    def __init__(self, catalogue: Catalogue, compiled_dir: Path) -> None:
        """Load and verify the module. Raises HubError(STARTUP) when it is not the module of its sources."""
        compiled = read_compiled(compiled_dir)
        named = f"{compiled.digest}\n{catalogue.digest}\n".encode()
        self._revision = f"sha256:{hashlib.sha256(named).hexdigest()}"
        data = {"revision": self._revision, "must_deny": compiled.must_deny, "catalogue": policy_data(catalogue)}
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
            self._module.set_data(orjson.dumps(data))
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
        verdicts: list[Verdict] = []
        for first in range(0, len(questions), MOST_QUESTIONS):
            verdicts += self._ask_some(questions[first : first + MOST_QUESTIONS])
        return verdicts

    def close(self) -> None:
        """Free the module's instances and its clock thread; later questions raise HubError(UNAVAILABLE)."""
        self._module.close()

    def _ask_some(self, questions: Sequence[Question]) -> list[Verdict]:
        items = [question._asdict() for question in questions]
        try:
            answer = self._module.evaluate(orjson.dumps({"items": items}))
        except OpaWasmError as cause:
            raise _unavailable("The policy engine did not answer.") from cause
        if answer is UNDEFINED:
            raise _unavailable("The policy engine's answer is undefined.")
        return believed(answer, count=len(questions), revision=self._revision)


def policy_data(catalogue: Catalogue) -> dict[str, Any]:
    """Turn the catalogue into the document the Rego reads as `data.catalogue`.

    {"datasets": {name: {"provider", "fields": {name: {"special"}}}}, a derived field being as special as its base,
     "purposes": {code: {"basis", "assurance", "law", "wanted": {dataset: [field]}}},
     "agreements": {code: {"version", "provider", "recipient", "purposes": [code], "ceiling": {dataset: [field]}}}}
    """
    return {
        "datasets": {
            name: {"provider": dataset.provider, "fields": _fields(dataset)}
            for name, dataset in catalogue.datasets.items()
        },
        "purposes": {
            code: {
                "basis": purpose.basis.value,
                "assurance": purpose.assurance,
                "law": purpose.law,
                "wanted": _sorted({name: wanted.fields for name, wanted in purpose.wanted.items()}),
            }
            for code, purpose in catalogue.purposes.items()
        },
        "agreements": {
            code: {
                "version": agreement.version,
                "provider": agreement.provider,
                "recipient": agreement.recipient,
                "purposes": sorted(agreement.purposes),
                "ceiling": _sorted(agreement.ceiling),
            }
            for code, agreement in catalogue.agreements.items()
        },
    }


def _fields(dataset: Dataset) -> dict[str, dict[str, bool]]:
    own = {name: {"special": field.special} for name, field in dataset.fields.items()}
    return own | {name: own.get(derived.base, {"special": True}) for name, derived in dataset.derived.items()}


def _sorted(sets: Mapping[str, frozenset[str]]) -> dict[str, list[str]]:
    return {name: sorted(fields) for name, fields in sets.items()}


def believed(answer: object, *, count: int, revision: str) -> list[Verdict]:
    """Read an engine's answer, and believe it only where it is exactly what was asked for.

    Raises: HubError(UNAVAILABLE) when it is of another revision or shape, or does not hold `count` verdicts (the
    policy gives none to a question it does not understand).
    """
    if not isinstance(answer, dict) or answer.keys() != {"revision", "verdicts"}:
        raise _unavailable("The policy engine's answer is malformed.")
    if answer["revision"] != revision:
        raise _unavailable("The policy engine answered under another revision.")
    verdicts = answer["verdicts"]
    if not isinstance(verdicts, list) or len(verdicts) != count:
        raise _unavailable(f"The policy engine did not give {count} verdicts on {count} questions.")
    return [_verdict(verdict, revision) for verdict in verdicts]


def _verdict(verdict: object, revision: str) -> Verdict:
    if not isinstance(verdict, dict) or verdict.keys() != {"fields", "reasons"}:
        raise _unavailable("A verdict of the policy engine is malformed.")
    return Verdict(revision, _names(verdict["fields"]), _names(verdict["reasons"]))


def _names(names: object) -> frozenset[str]:
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise _unavailable("A verdict of the policy engine is malformed.")
    if len(distinct := frozenset(names)) != len(names):
        raise _unavailable("A verdict of the policy engine names a thing twice.")
    return distinct


def _unavailable(what: str) -> HubError:
    return HubError(
        Kind.UNAVAILABLE,
        what,
        where="policy engine",
        remedy="nothing was decided or lost; it is asked again",
        code="policy-unavailable",
    )
