"""The compiled policy on disk: which sources it was built from, and the refusal to run one that is not theirs.

`policies/*.rego` and `policies/must_deny.json` are what people review; `policies/compiled/policy.wasm` is what runs.
`policies/compiled/digests.json` ties the two together: {"opa": version, "sources": {name: hex}, "wasm": hex}, SHA-256.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from hub.core.errors import HubError, Item, Kind

ENTRYPOINT = "hub/release/answer"
REMEDY = "run `make policies` and commit policies/compiled"


class Compiled(NamedTuple):
    """One verified build. `digest` names sources and module together; `rego` are the sources by name."""

    wasm: bytes
    rego: dict[str, bytes]
    must_deny: list[dict[str, Any]]
    digest: str


def source_digests(policies_dir: Path) -> dict[str, str]:
    """Digest every source of the module by name, tests left out: hex SHA-256 of the bytes as they stand."""
    sources = [path for path in policies_dir.glob("*.rego") if not path.name.endswith("_test.rego")]
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted([*sources, policies_dir / "must_deny.json"])
    }


def read_compiled(compiled_dir: Path) -> Compiled:
    """Read module and sources, and check that they belong together.

    Raises: HubError(STARTUP) naming every source that is new, gone or changed since the build, or a missing file.
    """
    try:
        record = json.loads((compiled_dir / "digests.json").read_bytes())
        wasm = (compiled_dir / "policy.wasm").read_bytes()
        sources = source_digests(compiled_dir.parent)
        rego = {name: (compiled_dir.parent / name).read_bytes() for name in sources if name.endswith(".rego")}
        must_deny = json.loads((compiled_dir.parent / "must_deny.json").read_bytes())["must_deny"]
        built, built_wasm = dict(record["sources"]), record["wasm"]
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise HubError(
            Kind.STARTUP,
            "The compiled policy or one of its sources is missing or unreadable.",
            where=str(getattr(cause, "filename", None) or compiled_dir),
            remedy=REMEDY,
            code="policy-unreadable",
        ) from cause
    differing = [name for name in sorted(built.keys() | sources.keys()) if built.get(name) != sources.get(name)]
    if hashlib.sha256(wasm).hexdigest() != built_wasm:
        differing.append("policy.wasm")
    if differing:
        raise HubError(
            Kind.STARTUP,
            f"The compiled policy is not the one of these sources: {', '.join(differing)}.",
            where=str(compiled_dir),
            remedy=REMEDY,
            code="policy-stale",
            items=tuple(Item("differs from what digests.json records", where=name) for name in differing),
        )
    return Compiled(wasm, rego, must_deny, _digest_of({**sources, "policy.wasm": built_wasm}))


def _digest_of(digests: dict[str, str]) -> str:
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
