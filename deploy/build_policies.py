"""Compile `policies/*.rego` to `policies/compiled/policy.wasm` and record the digests of everything that went in.

    python deploy/build_policies.py [--opa PATH]           check format, check strictly, run the tests, build, write
    python deploy/build_policies.py [--opa PATH] --check   build elsewhere and compare with what is committed

OPA is taken from --opa, the variable OPA, .tools/bin/opa, or PATH, the first of these that is there. The same
sources give the same bytes, which is why the build can be compared.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from hub.policy.compiled import ENTRYPOINT, source_digests

ROOT = Path(__file__).resolve().parent.parent
POLICIES = ROOT / "policies"
VECTORS = ROOT / "tests" / "vectors" / "decisions.json"
LEAST_COVERAGE_PERCENT = 95


def find_opa(named: str | None = None) -> str | None:
    """Return the whole path of an OPA binary (it is run in another directory), or None where there is none."""
    places = [named, os.environ.get("OPA"), str(ROOT / ".tools" / "bin" / "opa"), shutil.which("opa")]
    return next((str(Path(place).resolve()) for place in places if place and Path(place).is_file()), None)


def build(opa: str, policies_dir: Path) -> tuple[bytes, dict[str, Any]]:
    """Compile the sources and return the module with its record for digests.json.

    Runs inside `policies_dir` on bare names: OPA writes the paths it was given into the module.
    """
    digests = source_digests(policies_dir)
    sources = [name for name in digests if name.endswith(".rego")]
    with tempfile.TemporaryDirectory() as scratch:
        bundle = Path(scratch) / "bundle.tar.gz"
        _run([opa, "build", "-t", "wasm", "-e", ENTRYPOINT, "-o", str(bundle), *sources], policies_dir)
        with tarfile.open(bundle) as members:
            member = members.extractfile("/policy.wasm")
            assert member is not None  # opa build -t wasm writes this one file or fails
            wasm = member.read()
    record = {"opa": opa_version(opa), "sources": digests, "wasm": hashlib.sha256(wasm).hexdigest()}
    return wasm, record


def opa_version(opa: str) -> str:
    lines = subprocess.run([opa, "version"], check=True, capture_output=True, text=True).stdout.splitlines()
    return next(line.removeprefix("Version: ") for line in lines if line.startswith("Version: "))


def check_sources(opa: str, policies_dir: Path) -> None:
    """Format, strictness, tests and coverage; the decision table is read as data. Exits at the first complaint."""
    rego = sorted(str(path) for path in policies_dir.glob("*.rego"))
    data = [str(policies_dir / "must_deny.json"), str(VECTORS)]
    _run([opa, "fmt", "--list", "--fail", *rego], policies_dir)
    _run([opa, "check", "--strict", *rego, *data], policies_dir)
    _run([opa, "test", *rego, *data], policies_dir)
    _run([opa, "test", "--threshold", str(LEAST_COVERAGE_PERCENT), *rego, *data], policies_dir)


def _run(command: list[str], directory: Path) -> None:
    done = subprocess.run(command, check=False, cwd=directory, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command[:2])} failed:\n{done.stdout}{done.stderr}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Compile the policies and record the digests of their sources.")
    parser.add_argument("--opa", help="path of the OPA binary")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when a build differs")
    arguments = parser.parse_args()
    opa = find_opa(arguments.opa)
    if opa is None:
        sys.exit("No OPA found: name it by --opa or OPA, or install it to .tools/bin/opa.")
    check_sources(opa, POLICIES)
    wasm, record = build(opa, POLICIES)
    digests = json.dumps(record, indent=2, sort_keys=True) + "\n"
    compiled = POLICIES / "compiled"
    if arguments.check:
        same = (compiled / "policy.wasm").read_bytes() == wasm and (compiled / "digests.json").read_text() == digests
        sys.exit(0 if same else "policies/compiled differs from a build of these sources: run `make policies`.")
    compiled.mkdir(exist_ok=True)
    (compiled / "policy.wasm").write_bytes(wasm)
    (compiled / "digests.json").write_text(digests)
    print(f"policies/compiled/policy.wasm: {len(wasm)} bytes, OPA {record['opa']}")


if __name__ == "__main__":
    main()
