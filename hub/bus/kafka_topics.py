"""Look at the hub's topics at the brokers, and do what a plan says: create, configure, grant. Nothing is deleted."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ConfigResource,
    ConfigResourceType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
)
from kafka.errors import SecurityDisabledError

from hub.bus.kafka_access import KafkaAccess, connected, reaching
from hub.bus.kafka_plan import Grant, Plan, Seen, Topic, Wanted, barred, plan_of
from hub.core.errors import HubError, Kind

NOT_READ = "the topics could not be looked at"
NOT_DONE = "the plan could not be carried out to its end; look at it again"
UNKNOWN_TOPIC = 3  # Kafka's error code UNKNOWN_TOPIC_OR_PARTITION
DEFAULT_OPEN = "allow.everyone.if.no.acl.found"
ALL = ACLFilter(
    None, None, ACLOperation.ANY, ACLPermissionType.ALLOW,
    ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY),
)  # fmt: skip


@contextmanager
def administering(access: KafkaAccess, what: str = NOT_READ) -> Iterator[KafkaAdminClient]:
    """Open a client of this account. Raises HubError(UNAVAILABLE) for what the brokers refuse or do not answer."""
    with reaching(what), connected(KafkaAdminClient, access) as admin:
        yield admin


def look(admin: KafkaAdminClient, wanted: Wanted, topics: Collection[str] = ()) -> Seen:
    """See what there is of the wanted topics, and of these. Raises KafkaError where this account may not look."""
    shapes: dict[str, tuple[int, int]] = {}
    asked = sorted({*wanted.topics, *topics})
    for topic in admin.describe_topics(asked) if asked else ():
        if topic["error_code"] != UNKNOWN_TOPIC:
            replicas = min((len(one["replica_nodes"]) for one in topic["partitions"]), default=0)
            shapes[topic["name"]] = (len(topic["partitions"]), replicas)
    configs = _configs(admin, ConfigResourceType.TOPIC, sorted(shapes))
    seen = {name: Topic(*shape, configs.get(name, {})) for name, shape in shapes.items()}
    grants: set[Grant] = set()
    guarded, open_by_default = True, False
    try:
        found, _ = admin.describe_acls(ALL)
        grants = {_grant(one) for one in found}
    except SecurityDisabledError:
        guarded = False
    if guarded and wanted.must_guard:
        brokers = [str(one["broker_id"]) for one in admin.describe_cluster()["brokers"]]
        said = _configs(admin, ConfigResourceType.BROKER, brokers).values()
        open_by_default = any(one.get(DEFAULT_OPEN, "false").lower() == "true" for one in said)
    return Seen(seen, frozenset(grants), guarded, open_by_default)


def plan_now(access: KafkaAccess, wanted: Wanted) -> Plan:
    """Compare what there is with what there should be. Raises HubError(UNAVAILABLE)."""
    with administering(access) as admin:
        return plan_of(wanted, look(admin, wanted))


def carry_out(access: KafkaAccess, wanted: Wanted, expected: str) -> Plan:
    """Do exactly the plan of this digest, and return it. Raises HubError CONFLICT (it is another now), UNAVAILABLE."""
    with administering(access, NOT_DONE) as admin:
        plan = plan_of(wanted, look(admin, wanted))
        if plan.document()["digest"] != expected:
            raise HubError(
                Kind.CONFLICT,
                "the plan is not the one that was reviewed: topics, catalogue or settings have changed since",
                where="--expect",
                remedy="Review it again with `hub topics plan`, and apply that digest.",
                code="topics-plan-changed",
            )
        if plan.grants:
            failed = admin.create_acls([acl_of(one) for one in plan.grants])["failed"]
            if failed:
                raise failed[0]()
        if plan.create:
            made = {
                name: {
                    "num_partitions": one.partitions,
                    "replication_factor": one.replication,
                    "configs": dict(one.config),
                }
                for name, one in plan.create.items()
            }
            admin.create_topics(made, wait_for_metadata=True)
        if plan.configure:
            admin.alter_configs(
                [ConfigResource(ConfigResourceType.TOPIC, name, dict(said)) for name, said in plan.configure.items()]
            )
    return plan


def barring(access: KafkaAccess, wanted: Callable[[], Wanted]) -> Callable[[Collection[str]], Mapping[str, str]]:
    """Make the check of which topics nothing may be decided from (`hub.bus.kafka.Barred`)."""

    def check(topics: Collection[str]) -> Mapping[str, str]:
        asked = wanted()
        with administering(access) as admin:
            return barred(asked, look(admin, asked, topics), topics)

    return check


def _configs(admin: KafkaAdminClient, kind: Any, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    found = admin.describe_configs([ConfigResource(kind, name) for name in names], config_filter="all")
    return {
        name: {key: str(one["value"]) for key, one in said.items()}
        for name, said in found.get(kind.name.lower(), {}).items()
    }


def _grant(one: Any) -> Grant:
    of = one.resource_pattern
    return Grant(of.resource_type.name, of.resource_name, of.pattern_type.name, one.principal, one.operation.name)


def acl_of(one: Grant) -> Any:
    pattern = ResourcePattern(ResourceType[one.resource], one.name, ACLResourcePatternType[one.pattern])
    return ACL(one.principal, "*", ACLOperation[one.operation], ACLPermissionType.ALLOW, pattern)
