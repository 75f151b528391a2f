"""The signed bundle that an OPA server fetches: its bytes, its signature, who may have it, and how it is configured."""

import gzip
import io
import json
import subprocess
import tarfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml
from joserfc import jwk, jws

from hub.app import build
from hub.catalogue_files import load
from hub.commands.doctor import looked_at
from hub.core.catalogue import from_document, to_document
from hub.core.errors import HubError, Kind
from hub.identity.bundle_key import ALGORITHM, bundle_key
from hub.logs import open_log
from hub.policy.bundle import canonical, signed_bundle
from hub.policy.compiled import read_compiled
from hub.policy.embedded import EmbeddedPolicy
from hub.ports import Bundle
from hub.settings import Settings
from hub.web.apps import admin_app, public_app
from tests.decision_vectors import COMPILED, ROOT, catalogue
from tests.doors import client_of
from tests.opa_world import KEY, bundle_of, opa, opa_binary
from tests.test_serve import command, environment, serving

SHIPPED = load(ROOT / "policies" / "catalogue")
TOKEN = "b7" * 32


def members(bundle: Bundle) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(bundle.content))) as archive:
        return {one.name: read.read() for one in archive if (read := archive.extractfile(one)) is not None}


def verified(directory: Path, bundle: Bundle, pem: str) -> subprocess.CompletedProcess[str]:
    """Have OPA itself check the signature."""
    (directory / "bundle.tar.gz").write_bytes(bundle.content)
    (directory / "key.pem").write_text(pem)
    words = [opa_binary(), "build", "--bundle", "bundle.tar.gz", "-o", "out.tar.gz", "--verification-key", "key.pem"]
    words += ["--verification-key-id", bundle.kid, "--signing-alg", bundle.algorithm]
    return subprocess.run(words, cwd=directory, capture_output=True, text=True, check=False)


def packed(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(mode="w:gz", fileobj=out) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def test_the_same_policy_and_catalogue_are_the_same_bytes() -> None:
    """So that an ETag holds over a restart, and two hubs of one key serve the same."""
    first, again = bundle_of(SHIPPED), signed_bundle(read_compiled(COMPILED), SHIPPED, KEY)
    assert first == again
    assert first.content != bundle_of(replace(SHIPPED, digest="another")).content


def test_its_revision_is_the_one_of_the_engine_in_process() -> None:
    """In the manifest, in the data that answers are given from, and of the hub itself: one word."""
    policy = EmbeddedPolicy(SHIPPED, COMPILED)
    made = bundle_of(SHIPPED)
    files = members(made)
    assert made.revision == policy.revision()
    assert json.loads(files["/.manifest"])["revision"] == policy.revision()
    assert json.loads(files["/data.json"])["revision"] == policy.revision()
    policy.close()


def test_it_holds_the_sources_and_the_papers_and_nothing_else() -> None:
    """No test of the policy, no module, no person; and it owns no more than that in OPA."""
    files = members(bundle_of(SHIPPED))
    rego = {f"/{name}" for name in read_compiled(COMPILED).rego}
    assert files.keys() == rego | {"/.manifest", "/data.json", "/.signatures.json"}
    assert not any("_test" in name for name in files)
    assert json.loads(files["/data.json"]).keys() == {"revision", "must_deny", "catalogue"}
    assert json.loads(files["/.manifest"])["roots"] == ["catalogue", "hub", "must_deny", "revision"]


def test_every_file_is_under_the_signature() -> None:
    """Each with its own digest: OPA refuses a bundle in which one is missing, altered or too many."""
    files = members(bundle_of(SHIPPED))
    (token,) = json.loads(files.pop("/.signatures.json"))["signatures"]
    signed = jws.deserialize_compact(token, jwk.ECKey.import_key(KEY.pem), algorithms=[ALGORITHM])
    listed = {f"/{one['name']}": one["hash"] for one in json.loads(signed.payload)["files"]}
    assert listed == {name: sha256(content).hexdigest() for name, content in files.items()}


def test_its_signature_is_verified_by_opa(tmp_path: Path) -> None:
    """ES256 by the key that the configuration names; the one above has a library of others verify the same."""
    made = bundle_of(SHIPPED)
    done = verified(tmp_path, made, made.pem)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["/data.json", "/.manifest", "/release.rego", "/extra.rego", "another key"])
def test_what_was_changed_after_it_was_signed_is_refused_by_opa(tmp_path: Path, name: str) -> None:
    """A file altered, a file added, or signed by somebody else."""
    made, files = bundle_of(catalogue()), members(bundle_of(catalogue()))
    pem = made.pem
    if name == "another key":
        pem = bundle_key(b"somebody else's secret, 32 bytes").pem
    elif name == "/extra.rego":
        files[name] = b"package hub.extra\n\nx := 1\n"
    else:
        files[name] = (
            files[name].replace(b"sha256:", b"sha512:").replace(b"package hub.release", b"package hub.relaxed")
        )
        assert files[name] != members(made)[name]
    done = verified(tmp_path, made._replace(content=packed(files)), pem)
    assert done.returncode != 0
    assert not (tmp_path / "out.tar.gz").exists()


def test_documents_are_digested_as_opa_does_it_whatever_is_in_them(tmp_path: Path) -> None:
    """Titles in four scripts, quotes, and the characters that JSON writers treat in ways of their own."""
    odd = 'a"b\\c/<d>&é ж ع 中 \u2028\u2029\u007f\u0001\t\b\f\r\n 😀'
    purposes = {code: replace(one, law=odd) for code, one in SHIPPED.purposes.items()}
    made = bundle_of(replace(SHIPPED, purposes=purposes))
    done = verified(tmp_path, made, made.pem)
    assert done.returncode == 0, done.stderr
    assert json.loads(canonical({"b": odd, "a": [1, True, None]})) == {"a": [1, True, None], "b": odd}


def test_the_key_is_one_of_its_curve_and_the_same_after_every_start() -> None:
    """Derived, so nothing is stored that could be lost; other secrets give other keys."""
    assert bundle_key(b"s" * 32).pem == bundle_key(b"s" * 32).pem
    assert bundle_key(b"s" * 32).kid != bundle_key(b"t" * 32).kid


def hub_settings(directory: Path, **given: Any) -> Settings:
    return Settings(mode="development", data_dir=directory / "data", synchronous="OFF", **given)


def token_file(directory: Path, word: str = TOKEN, mode: int = 0o600) -> Path:
    path = directory / "bundle.token"
    path.write_text(word + "\n")
    path.chmod(mode)
    return path


def test_who_shows_the_token_fetches_it_and_again_only_when_it_changed(tmp_path: Path) -> None:
    """To anybody else there is nothing at the address; the operator's socket needs no token."""
    settings = hub_settings(tmp_path, opa_bundle_token_file=token_file(tmp_path))
    with Path("/dev/null").open("w") as nowhere:
        hub = build(settings, log=open_log(clock=lambda: 0, stream=nowhere))
    public, operator = client_of(public_app(hub)), client_of(admin_app(hub))
    path, shown = "/opa/bundle.tar.gz", {"Authorization": f"Bearer {TOKEN}"}
    first = public.get(path, headers=shown)
    assert (first.status_code, first.content) == (200, hub.policy_bundle().content)
    again = public.get(path, headers={**shown, "If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = public.get(path, headers={**shown, "If-None-Match": '"of-an-older-one"'})
    assert other.status_code == 200
    for headers in ({}, {"Authorization": "Bearer"}, {"Authorization": "Bearer " + "c8" * 32}):
        refused = public.get(path, headers={**headers, "If-None-Match": first.headers["etag"]})
        assert (refused.status_code, refused.text) == (404, public.get("/nothing").text)
    assert operator.get(path).content == first.content
    hub.close()


def test_a_catalogue_that_was_just_approved_is_in_the_bundle(tmp_path: Path) -> None:
    """It is made anew for each that is in force, and once only."""
    hub = build(hub_settings(tmp_path), log=open_log(clock=lambda: 0, stream=io.StringIO()))
    before = hub.policy_bundle()
    assert hub.policy_bundle() is before
    document = to_document(hub.approved())
    document["purposes"]["FAM-ALLOW"] |= {"version": 2, "retention_days": 1_000}
    hub.approve(from_document(document))
    assert hub.policy_bundle().revision == hub.in_force.revision != before.revision
    hub.close()


def test_without_a_token_file_nothing_is_there(tmp_path: Path) -> None:
    """Not even outside production: all agreements are in it."""
    hub = build(hub_settings(tmp_path), log=open_log(clock=lambda: 0, stream=io.StringIO()))
    assert client_of(public_app(hub)).get("/opa/bundle.tar.gz").status_code == 404
    hub.close()


@pytest.mark.parametrize(("word", "mode"), [("short", 0o600), (TOKEN + " " + TOKEN, 0o600), (TOKEN, 0o640)])
def test_a_token_file_that_is_no_good_stops_the_start(tmp_path: Path, word: str, mode: int) -> None:
    """For the bundle and for OPA alike: too short, two words, or readable by others."""
    path = token_file(tmp_path, word, mode)
    hub = build(hub_settings(tmp_path, opa_bundle_token_file=path), log=open_log(clock=lambda: 0, stream=io.StringIO()))
    with pytest.raises(HubError) as told:
        public_app(hub)
    assert (told.value.kind, told.value.code) == (Kind.STARTUP, "opa-bundle-token-file")
    hub.close()
    with pytest.raises(HubError) as told:
        build(hub_settings(tmp_path, policy="server", opa_token_file=path))
    assert (told.value.kind, told.value.code) == (Kind.STARTUP, "opa-token-file")


def test_commands_write_the_bundle_and_the_configuration_beside_a_hub_and_without_one(tmp_path: Path) -> None:
    """The same from both, and the configuration names the key that verifies the file."""
    environ = environment(tmp_path / "data", "development", HUB_ISSUER="http://127.0.0.1:9")
    with serving(environ, tmp_path):
        done = command(environ, tmp_path, "policy", "bundle", "--out", "beside.tar.gz")
        assert done.returncode == 0, done.stderr
        config = command(environ, tmp_path, "policy", "opa-config", "--hub", "https://hub.example").stdout
    assert command(environ, tmp_path, "policy", "bundle", "--out", "alone.tar.gz").returncode == 0
    assert (tmp_path / "beside.tar.gz").read_bytes() == (tmp_path / "alone.tar.gz").read_bytes()
    said = yaml.safe_load(config)
    assert said["services"]["hub"]["url"] == "https://hub.example"
    (kid,) = said["keys"]
    assert said["bundles"]["hub"]["signing"]["keyid"] == kid
    made = Bundle("", kid, said["keys"][kid]["algorithm"], "", (tmp_path / "alone.tar.gz").read_bytes())
    checked = verified(tmp_path, made, said["keys"][kid]["key"])
    assert checked.returncode == 0, checked.stderr
    lost = command(environ, tmp_path, "policy", "bundle", "--out", "nowhere/b.tar.gz")
    assert (lost.returncode, "Traceback" in lost.stderr, "cannot be written" in lost.stderr) == (1, False, True)


def test_the_doctor_tells_a_server_that_is_away_from_one_that_knows_nothing_or_something_else(tmp_path: Path) -> None:
    """Each with a remedy of its own; over the right bundle it passes."""

    def look(url: str) -> str:
        settings = hub_settings(tmp_path, policy="server", opa_url=url)
        (found,) = [one for one in looked_at(settings, lambda: 0) if one.check == "policy server"]
        assert bool(found.remedy) == (found.level != "PASS")
        return f"{found.level} {found.what}"

    build(hub_settings(tmp_path), log=open_log(clock=lambda: 0, stream=io.StringIO())).close()
    with opa() as bare:
        assert "FAIL" in look(bare.url)
        assert "undefined" in look(bare.url)
        url = bare.url
    assert "cannot be reached" in look(url)
    with opa(bundle_of(catalogue())) as older:
        assert "another revision" in look(older.url)
    with opa(bundle_of(SHIPPED)) as right:
        assert look(right.url) == "PASS answers, under the hub's own revision"
