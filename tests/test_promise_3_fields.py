"""Promise 3: released fields are within agreement, consent, purpose and schema, by an allow-list that no policy widens.

A new field in a schema is unreleased until an agreement names it.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hub.core.agreement import Catalogue, Field
from hub.core.catalogue.document import Line, compose
from tests.promise_hub import Generous, with_policy
from tests.protocol_world import CONSENT, Hub, opened, shipped

pytestmark = pytest.mark.engines(whole=True)

MORE = {"address": "1 Example Road", "since": "2020-01-01"}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub that knows one person, who has said yes."""
    with opened(tmp_path) as one:
        one.grant(one.link("A"))
        yield one


def received(hub: Hub, **data: Any) -> dict[str, Any]:
    hub.publish("1", **data)
    hub.decide()
    (event,) = hub.read(hub.pull())
    content: dict[str, Any] = event["data"]
    return content


def test_only_what_the_agreement_names_goes(hub: Hub) -> None:
    """The event holds the person's id, address and date besides; they stay behind."""
    assert received(hub, **MORE) == {"municipality_code": "M-7"}


def test_a_policy_cannot_widen_what_was_agreed(hub: Hub) -> None:
    """It permits every field there is: the allow-list in code still says which go."""
    with_policy(hub, Generous(hub.policy, frozenset({"resident", *MORE})))
    assert received(hub, **MORE) == {"municipality_code": "M-7"}


def test_a_new_field_of_a_schema_is_unreleased(tmp_path: Path) -> None:
    """The publisher's new version has one field more; nobody's agreement names it, so nobody gets it."""
    newer = with_field(shipped()[0], CONSENT.dataset, "household_size")
    with opened(tmp_path, catalogue=newer) as hub:
        hub.grant(hub.link("A"))
        assert received(hub, household_size="5") == {"municipality_code": "M-7"}
        (parts,) = hub.rows('SELECT body FROM interned WHERE body LIKE \'{"fields":%"role":%\'')
        assert "household_size" not in parts[0]


def test_the_payload_itself_holds_no_more_than_goes(hub: Hub) -> None:
    """What is sealed at the gate is minimised already: there is nothing more to leak from it."""
    received(hub, **MORE)
    key = hub.open_keys.of([hub.person("A")])[hub.person("A")]
    ((public, payload),) = hub.rows("SELECT public, payload FROM delivery WHERE kind = 1")
    plain = key.aead.decrypt(payload[:12], payload[12:], public)
    assert b"M-7" in plain
    assert b"Example Road" not in plain


def with_field(catalogue: Catalogue, dataset: str, name: str) -> Catalogue:
    """Return the catalogue with one field more in a dataset's schema, and nothing else changed."""
    old = catalogue.datasets[dataset]
    properties: Any = old.schema["properties"]
    fields = {**old.fields, name: Field(name, {"en": name}, old.subject_role)}
    new = replace(old, fields=fields, schema={**old.schema, "properties": {**properties, name: {"type": "string"}}})
    lines = [
        Line(one.number, one.agreement.code, one.purpose.code, one.dataset.name)
        for one in catalogue.subscriptions.values()
    ]
    return compose(
        agencies=catalogue.agencies.values(),
        datasets=[new if one is old else one for one in catalogue.datasets.values()],
        purposes=catalogue.purposes.values(),
        agreements=catalogue.agreements.values(),
        lines=lines,
    )
