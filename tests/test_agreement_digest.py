"""What is signed is one digest that anybody can work out, and it is another one as soon as the agreement is."""

import copy
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import OKPKey

from agency_adapters import agreements as theirs
from hub.core.agreement_digest import catalogue_of, terms_of
from hub.core.agreement_page import as_html, as_text
from hub.identity.officers import officer_row, read_detached, sign_detached, signs

VECTOR = json.loads((Path(__file__).parent / "vectors" / "agreement_digest.json").read_text(encoding="utf-8"))
SECRET = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"  # of RFC 8037 appendix A.1, known to everybody


def document() -> dict[str, Any]:
    found: dict[str, Any] = copy.deepcopy(VECTOR["catalogue"])
    return found


def test_the_terms_the_digest_and_the_signature_are_those_of_the_vector() -> None:
    """Byte for byte, on both sides: as the hub writes the terms, and as an officer's own tool does."""
    terms = terms_of(document(), VECTOR["code"])
    assert (terms.payload.decode(), terms.digest) == (VECTOR["payload"], VECTOR["digest"])
    assert sha256(terms.payload).hexdigest() == terms.digest
    assert theirs.canonical(json.loads(terms.payload)) == terms.payload
    for name, dataset in terms.datasets.items():
        told = json.loads(terms.payload)["datasets"][name]["sha256"]
        assert sha256(theirs.canonical(json.loads(json.dumps(dataset)))).hexdigest() == told
    key = OKPKey.import_key({**VECTOR["public_jwk"], "d": SECRET})
    checked = theirs.Terms(json.loads(terms.payload), terms.datasets, terms.payload, terms.digest)
    assert sign_detached(terms.payload, key, kid=key.thumbprint()) == VECTOR["jws"]
    assert theirs.sign(checked, key).partition("..")[2] != ""
    row = officer_row("a", VECTOR["public_jwk"], name="Ada", office="Registrar", now_us=0)
    for text in (VECTOR["jws"], theirs.sign(checked, key)):
        assert signs(read_detached(text), terms.payload, row)
        assert not signs(read_detached(text), terms.payload + b" ", row)


def test_a_signature_is_the_jws_of_the_standard_without_its_payload() -> None:
    """Put the payload back, and a library that others wrote verifies it (RFC 7515 appendix F)."""
    key = OKPKey.import_key(VECTOR["public_jwk"])
    header, _, signature = VECTOR["jws"].split(".")
    detached = jws.detach_content(f"{header}.e30.{signature}")
    assert detached == VECTOR["jws"]
    whole = jws.deserialize_compact(VECTOR["jws"], key, algorithms=["Ed25519"], payload=VECTOR["payload"].encode())
    assert whole.payload == VECTOR["payload"].encode()


def _set(*path: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(catalogue: dict[str, Any]) -> None:
        *to_it, last = path
        for step in to_it:
            catalogue = catalogue[step]
        assert catalogue.get(last) != to
        catalogue[last] = to

    return change


CHANGES = [
    _set("agreements", "AGR-7", "version", to=4),
    _set("agreements", "AGR-7", "ceiling", to={"d.one": ["x", "y", "z"]}),
    _set("agreements", "AGR-7", "recipient", to="c"),
    _set("agreements", "AGR-7", "valid_until_us", to=4102444800000001),
    _set("agreements", "AGR-7", "look_back_days", to=31),
    _set("agreements", "AGR-7", "law", to=""),
    _set("purposes", "P", "retention_days", to=2),
    _set("purposes", "P", "benefit", to={"en": "z"}),
    _set("purposes", "P", "version", to=2),
    _set("datasets", "d.one", "version", to=3),
    _set("datasets", "d.one", "schema", to={"type": "object"}),
    _set("datasets", "d.one", "fields", to=[{"name": "x"}]),
]


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_an_agreement_rests_on_changes_its_digest(change: Callable[[dict[str, Any]], None]) -> None:
    """Its own text, its purposes word for word, the schemas of its datasets."""
    catalogue = document()
    before = terms_of(catalogue, "AGR-7").digest
    change(catalogue)
    assert terms_of(catalogue, "AGR-7").digest != before


def test_what_an_agreement_does_not_name_leaves_its_digest_alone() -> None:
    """Other datasets, other purposes, an agency's telephone number; and the order in which things were written."""
    catalogue = document()
    catalogue["datasets"]["d.two"]["version"] = 9
    catalogue["purposes"]["Q"]["code"] = "R"
    catalogue["agencies"]["a"] = {"contact": "another"}
    catalogue["datasets"]["d.one"] = dict(reversed(catalogue["datasets"]["d.one"].items()))
    assert terms_of(catalogue, "AGR-7").digest == VECTOR["digest"]


def test_terms_give_back_the_part_of_the_catalogue_that_they_are_about() -> None:
    """So that two versions can be compared in words."""
    terms = terms_of(document(), "AGR-7")
    part = catalogue_of(json.loads(terms.payload), terms.datasets)
    assert terms_of(part, "AGR-7").digest == terms.digest


def view(**changed: Any) -> dict[str, Any]:
    """Make what a page is made of, with a signature whose officer has a dangerous name."""
    catalogue = document()
    for one in catalogue["datasets"]["d.one"]["fields"]:
        one |= {"titles": {"en": f"Title of {one['name']}"}, "role": "child", "special": one["name"] == "x"}
    catalogue["datasets"]["d.one"]["derived"][0] |= {"titles": {"en": "A band"}}
    terms = terms_of(catalogue, "AGR-7")
    signature = {
        "side": "provider", "agency": "a", "kid": "k", "name": "<script>alert(1)</script>", "office": "R & D",
        "at": "2027-01-01T00:00:00Z", "jws": "x..y",
    }  # fmt: skip
    standing = {"version": 3, "digest": terms.digest, "signatures": [signature], "missing": ["recipient"]}
    return {
        "code": "AGR-7", "provider": "a", "recipient": "b", "phase": "unsigned", "since": "2027-01-01T00:00:00Z",
        "signed": False, "suspended_by": [], "approved": standing,
        "agencies": {"a": {"titles": {"en": "Agency A"}, "contact": "dpo@a.example"}, "b": {"titles": {}}},
        "documents": {
            "approved": {"digest": terms.digest, "terms": json.loads(terms.payload), "datasets": terms.datasets}
        },
        **changed,
    }  # fmt: skip


def test_the_page_says_who_what_why_how_long_what_not_and_whom_to_call() -> None:
    """As text; the fields that stay behind are named one by one."""
    text = as_text(view(), "approved")
    for said in (
        "Agreement AGR-7, version 3", "Agency A (a) gives.", "b receives.", "Title of x", "GDPR article 9",
        "P (cannot do without)", "Legal basis: the person's consent", "Never used for: y.", "for 1 days at the most",
        "on 2100-01-01 it is valid no more", "the last 30 days are held", "dpo@a.example",
        "Approved, and not in force", "Signatures missing: recipient.", VECTOR["code"],
    ):  # fmt: skip
        assert said in text, said
    withheld = text.partition("Never handed over")[2].partition("\n\n")[0]
    assert "z (Title of z)" in withheld
    assert "w (A band)" in withheld
    assert "Title of x" not in withheld


def test_the_page_in_html_says_the_same_and_runs_nothing() -> None:
    """Every value is escaped, no script, nothing is fetched from anywhere."""
    page = as_html(view(), "approved")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "R &amp; D" in page
    assert "default-src 'none'" in page
    assert not any(word in page for word in ("http://", "https://", 'src="', "<img", "<link", "@import", "url("))
    for said in ("Title of z", "dpo@a.example", "valid no more", "Signatures missing"):
        assert said in page


def test_the_page_says_who_suspended_and_what_was_agreed_before_signatures() -> None:
    """And a proposal is not mistaken for what is in force."""
    suspended = view(phase="suspended", suspended_by=[{"by": "b", "since": "2027-02-01"}], signed=True)
    text = as_text(suspended, "approved")
    assert "Suspended by b since 2027-02-01" in text
    assert "before officers' signatures were kept" in text
    proposed = view(phase="in_force")
    proposed["proposed"], proposed["documents"]["proposed"] = proposed["approved"], proposed["documents"]["approved"]
    assert "it is not in force" in as_text(proposed, "proposed")
