"""What the hub's topics should be at the brokers, what they are, and what is to be done. Pure.

A topic for every dataset, with retention no longer than intake may be readable; the publishing account may write, the
gate's may read, and nobody else may anything. What is there is never deleted or narrowed: that is found, and named.
"""

from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from hub.core.agreement import Catalogue
from hub.core.leaf import canonical
from hub.settings import INTAKE_RETENTION_MOST_DAYS, Settings

GROUP = "hub-gate"
DAY_MS = 86_400_000
LEAST_MS = 2 * DAY_MS  # intake is kept for two days at least: a day key ends with a whole day
RESTRICTIVE = frozenset({"DESCRIBE", "DESCRIBE_CONFIGS"})  # what the hub's own accounts may besides: look
EVERYBODY = "User:*"


class Topic(NamedTuple):
    """How a topic is to be made, or is."""

    partitions: int
    replication: int
    config: Mapping[str, str]


class Grant(NamedTuple):
    """One ACL that allows. `resource` is TOPIC, GROUP or CLUSTER; `pattern` LITERAL or PREFIXED."""

    resource: str
    name: str
    pattern: str
    principal: str
    operation: str


class Wanted(NamedTuple):
    """What there should be. No grants where brokers know no accounts; `must_guard` where they have to."""

    topics: Mapping[str, Topic]
    grants: frozenset[Grant]
    group: str
    must_guard: bool
    administrators: frozenset[str] = frozenset()  # may make and change what is to be made


class Seen(NamedTuple):
    """What there is. `guarded` is None where the brokers have no authorizer."""

    topics: Mapping[str, Topic]
    grants: frozenset[Grant]
    guarded: bool
    open_by_default: bool  # allow.everyone.if.no.acl.found


class Finding(NamedTuple):
    """What differs, and what no plan mends by itself. Where it `bars`, nothing of the topic is decided."""

    topic: str  # "" where it is about all
    what: str
    remedy: str
    bars: bool


class Plan(NamedTuple):
    """What `hub topics apply` would do, in this order, and what it would leave as it is."""

    grants: tuple[Grant, ...]
    create: Mapping[str, Topic]
    configure: Mapping[str, Mapping[str, str]]
    findings: tuple[Finding, ...]

    def document(self) -> dict[str, Any]:
        """Return it as JSON; `digest` names exactly these steps."""
        steps = {
            "grants": [one._asdict() for one in self.grants],
            "create": {name: {**one._asdict(), "config": dict(one.config)} for name, one in self.create.items()},
            "configure": {name: dict(config) for name, config in self.configure.items()},
        }
        digest = sha256(canonical(steps)).hexdigest()
        return {"digest": digest, **steps, "findings": [one._asdict() for one in self.findings]}


def wanted_of(settings: Settings, catalogue: Catalogue) -> Wanted:
    """Say what the catalogue in force and the settings ask for."""
    prefix = settings.kafka_topic_prefix
    days = min(settings.intake_retention_days, INTAKE_RETENTION_MOST_DAYS)
    config = {
        "cleanup.policy": "delete",
        "compression.type": "producer",  # as it was sent: the gate may be unable to read what brokers compress
        "retention.ms": str(max(days * DAY_MS, LEAST_MS)),
        "min.insync.replicas": str(settings.kafka_min_insync),
    }
    shape = Topic(settings.kafka_partitions, settings.kafka_replication, config)
    topics = {f"{prefix}in.{one.provider}.{one.name}": shape for one in catalogue.datasets.values()}
    group, grants = prefix + GROUP, set[Grant]()
    if settings.kafka_security != "PLAINTEXT":
        gate = f"User:{settings.kafka_username}"
        publisher = f"User:{settings.kafka_publish_username or settings.kafka_username}"
        for topic in topics:
            grants.add(Grant("TOPIC", topic, "LITERAL", publisher, "WRITE"))
            grants |= {Grant("TOPIC", topic, "LITERAL", gate, op) for op in ("READ", "DESCRIBE_CONFIGS")}
        grants.add(Grant("GROUP", group, "LITERAL", gate, "READ"))
        grants |= {Grant("CLUSTER", "kafka-cluster", "LITERAL", gate, op) for op in sorted(RESTRICTIVE)}
    administrators = frozenset({f"User:{settings.kafka_admin_username}"} if settings.kafka_admin_username else ())
    must_guard = settings.mode == "production" or settings.kafka_security != "PLAINTEXT"
    return Wanted(topics, frozenset(grants), group, must_guard, administrators)


def plan_of(wanted: Wanted, seen: Seen) -> Plan:
    """Compare. Grants come first, so that no topic is there for a moment without them."""
    create = {name: one for name, one in sorted(wanted.topics.items()) if name not in seen.topics}
    configure = {
        name: changed
        for name, one in sorted(wanted.topics.items())
        if name in seen.topics and (changed := _changed(one.config, seen.topics[name].config))
    }
    grants = tuple(sorted(wanted.grants - seen.grants)) if seen.guarded else ()
    return Plan(grants, create, configure, tuple(findings_of(wanted, seen)))


def findings_of(wanted: Wanted, seen: Seen) -> list[Finding]:
    """Name everything that differs and that no plan mends."""
    found = _unguarded(wanted, seen)
    for name, want in sorted(wanted.topics.items()):
        if (is_so := seen.topics.get(name)) is None:
            continue
        if is_so.partitions != want.partitions:
            what = f"it has {is_so.partitions} partitions instead of {want.partitions}: persons would lose their order"
            remedy = (
                "Set HUB_KAFKA_PARTITIONS to what it has. For another number, once all is decided, make topics under"
                " another HUB_KAFKA_TOPIC_PREFIX; never one anew by its name: its position stays, and skips records."
            )
            found.append(Finding(name, what, remedy, bars=True))
        if is_so.replication < want.replication:
            what = f"each record is on {is_so.replication} brokers instead of {want.replication}"
            found.append(Finding(name, what, "Reassign its replicas, or set HUB_KAFKA_REPLICATION.", bars=False))
        if is_so.config.get("cleanup.policy", "delete") != "delete":
            what = "it is compacted: events that are not decided would be dropped"
            found.append(Finding(name, what, "Run `hub topics plan` and `apply`.", bars=True))
        found += [Finding(name, *said, bars=True) for said in strangers(wanted, seen, "TOPIC", name)]
    if seen.guarded:
        found += [Finding("", *said, bars=True) for said in strangers(wanted, seen, "GROUP", wanted.group)]
    return found


def barred(wanted: Wanted, seen: Seen, topics: Collection[str]) -> dict[str, str]:
    """Say which of these topics nothing may be decided from, and why; "" where there is just no such topic.

    A topic whose dataset has left the catalogue may still hold events: it is looked at for strangers alone.
    """
    found: dict[str, str] = {}
    findings = [one for one in findings_of(wanted, seen) if one.bars]
    everywhere = [one.what for one in findings if not one.topic]
    for topic in topics:
        if topic not in seen.topics:
            found[topic] = "it is not there" if topic in wanted.topics else ""
            continue
        said = [one.what for one in findings if one.topic == topic]
        if topic not in wanted.topics:
            said += [what for what, _ in strangers(wanted, seen, "TOPIC", topic)]
        if said or everywhere:
            found[topic] = "; ".join([*everywhere, *said])
    return found


def _unguarded(wanted: Wanted, seen: Seen) -> list[Finding]:
    if not wanted.must_guard:
        return []
    if not seen.guarded:
        what = "the brokers have no authorizer: whoever reaches them may read and write every topic"
        return [Finding("", what, "Set authorizer.class.name at the brokers.", bars=True)]
    if seen.open_by_default:
        what = "allow.everyone.if.no.acl.found is on: what has no ACL is open to everybody"
        return [Finding("", what, "Set it to false at the brokers.", bars=True)]
    return []


def strangers(wanted: Wanted, seen: Seen, resource: str, name: str) -> list[tuple[str, str]]:
    """Name who may do something to a topic or group that the plan doesn't grant; (what, remedy) each."""
    ours = {one.principal for one in wanted.grants}
    found = []
    for one in sorted(seen.grants):
        if one.resource != resource or not _covers(one, name):
            continue
        granted = Grant(resource, name, "LITERAL", one.principal, one.operation) in wanted.grants
        looks = one.principal in ours and one.operation in {"DESCRIBE", "DESCRIBE_CONFIGS"}
        makes = one.principal in wanted.administrators and one.operation not in {"READ", "WRITE", "ALL"}
        if not (granted or looks or makes):
            who = "everybody" if one.principal == EVERYBODY else one.principal
            what = (
                f"{who} may {one.operation} it, by the ACL of {one.resource.lower()} {one.name} ({one.pattern.lower()})"
            )
            found.append((what, "Remove that ACL with the brokers' own tools (`kafka-acls --remove`)."))
    return found


def _covers(one: Grant, name: str) -> bool:
    return one.name in ("*", name) or (one.pattern == "PREFIXED" and name.startswith(one.name))


def _changed(want: Mapping[str, str], is_so: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in want.items() if is_so.get(key) != value}
