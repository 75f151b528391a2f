"""What of the catalogue is an agency's own: its agreements, what it gets and in which form, what it publishes."""

from collections.abc import Mapping
from typing import Any

from hub.core.agreement import Agreement, Catalogue, Dataset, Subscription
from hub.core.reduced import reduced_schema, titles_of
from hub.exchange.feed import rfc3339
from hub.exchange.world import World
from hub.store.facts import RuleFacts, read_rules, rules_of
from hub.store.file_drop import drops
from hub.store.webhooks import webhook_of

IN_USE = ("active", "failing")  # a failing one is tried again; one that is unproven or disabled gets nothing


def own_catalogue(world: World, agency: str) -> dict[str, Any]:
    """Read which agreements are in force, and describe all that is the agency's. Of others it holds nothing."""
    with world.store.read() as tx:
        rules = rules_of(read_rules(tx))
    return describe_own(world.catalogue, agency, rules, now_us=world.clock())


def ways_out(world: World, agency: str) -> tuple[str, ...]:
    """Name the ways by which an agency gets deliveries as things are: pull always, webhook and file where set up."""
    number = world.catalogue.agencies[agency].number
    with world.store.read() as tx:
        webhook = webhook_of(tx, agency)
        by_file = any(one.agency == number and one.format for one in drops(tx))
    by_webhook = webhook is not None and webhook.state in IN_USE
    return ("pull", *(("webhook",) if by_webhook else ()), *(("file",) if by_file else ()))


def describe_own(catalogue: Catalogue, agency: str, rules: RuleFacts, *, now_us: int) -> dict[str, Any]:
    """Describe an agency's part of the catalogue, agreements that are not in force included. Pure."""
    phases = {
        code: _phase(catalogue, one, rules, now_us)
        for code, one in sorted(catalogue.agreements.items())
        if agency in (one.provider, one.recipient)
    }
    own = [one for _, one in sorted(catalogue.subscriptions.items()) if one.recipient == agency]
    published = [one for _, one in sorted(catalogue.datasets.items()) if one.provider == agency]
    return {
        "agency": agency,
        "catalogue": catalogue.digest,
        "time_us": now_us,
        "agreements": [_agreement(catalogue.agreements[code], phase) for code, phase in phases.items()],
        "subscriptions": [_subscription(one, phases[one.agreement.code]) for one in own],
        "datasets": [_dataset(one) for one in published],
    }


def _phase(catalogue: Catalogue, one: Agreement, rules: RuleFacts, now_us: int) -> str:
    if now_us < one.valid_from_us:
        return "not_yet"
    if now_us >= one.valid_until_us:
        return "ended"
    return rules.phase(one.number, catalogue.agencies[one.provider].number, catalogue.agencies[one.recipient].number)


def _agreement(one: Agreement, phase: str) -> dict[str, Any]:
    return {
        "code": one.code,
        "version": one.version,
        "phase": phase,
        "provider": one.provider,
        "recipient": one.recipient,
        "purposes": list(one.purposes),
        "valid_from": rfc3339(one.valid_from_us),
        "valid_until": rfc3339(one.valid_until_us),
        "look_back_days": one.look_back_days,
        "law": one.law,
        "review_on": one.review_on,
    }


def _subscription(one: Subscription, phase: str) -> dict[str, Any]:
    purpose = one.purpose
    return {
        "agreement": one.agreement.code,
        "phase": phase,
        "provider": one.agreement.provider,
        "dataset": one.dataset.name,
        "dataschema": f"{one.dataset.name}/{one.dataset.version}",
        "titles": dict(one.dataset.titles),
        "purpose": purpose.code,
        "purpose_titles": dict(purpose.titles),
        "benefit": dict(purpose.benefit),
        "not_used_for": {language: list(words) for language, words in purpose.not_used_for.items()},
        "basis": purpose.basis.value,
        "law": purpose.law or one.agreement.law,
        "retention_days": purpose.retention_days,
        "look_back_days": one.agreement.look_back_days,
        "assurance": f"P{purpose.assurance}",
        "fields": [_field(one, name) for name in sorted(one.allowed)],
        "schema": reduced_schema(one),
    }


def _field(one: Subscription, name: str) -> dict[str, Any]:
    own = one.dataset.fields.get(name)
    kind: Mapping[str, Any] = {"derived": own is None}
    if own is not None:
        kind = {"derived": False, "classification": own.classification, "special": own.special}
    return {"name": name, "required": name in one.required, "titles": dict(titles_of(one.dataset, name)), **kind}


def _dataset(one: Dataset) -> dict[str, Any]:
    return {
        "name": one.name,
        "version": one.version,
        "dataschema": f"{one.name}/{one.version}",
        "titles": dict(one.titles),
        "subject_role": one.subject_role,
        "rhythm_days": one.rhythm_days,
        "fields": [_published(one, name) for name in sorted({*one.fields, *one.derived})],
        "schema": dict(one.schema),
    }


def _published(dataset: Dataset, name: str) -> dict[str, Any]:
    own = dataset.fields.get(name)
    about = own is not None and bool(own.names) and own.role == dataset.subject_role
    return {"name": name, "titles": dict(titles_of(dataset, name)), "derived": own is None, "subject": about}
