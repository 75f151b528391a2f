"""The chart: manifests fit the schemas of Kubernetes, hold no secret, and let through what the page says, no more."""

import os
import subprocess
from functools import cache
from pathlib import Path
from shutil import which
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.deployed import EXACT, SECRET_NAME, leaks, unknown_command, unknown_settings
from tests.network_policies import Network, Peer, selects

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "deploy" / "helm" / "exchange-hub"
HELM = next((one for one in (ROOT / ".tools" / "bin" / "helm", Path(which("helm") or "/")) if one.is_file()), None)
COMPONENT = "app.kubernetes.io/component"
KUBERNETES = ("1.29", "1.34", "1.37")  # the oldest that the chart takes, one between, the newest there is a schema of
PARTS = ("web", "gate", "handout", "webhooks", "files", "retention")
DECIDE = {"web", "gate", "handout", "webhooks", "files"}
GIVEN: dict[str, Any] = {
    "issuer": "https://hub.example",
    "opa": {
        "config": "services: {hub: {url: 'http://hub-web-operations:8081'}}\n"
        "bundles: {hub: {service: hub, signing: {keyid: k}}}\n"
        "keys: {k: {key: '-----BEGIN PUBLIC KEY-----'}}\n"
    },
    "ingress": {"enabled": True, "host": "hub.example", "tlsSecretName": "hub-tls"},
    "serviceMonitor": {"enabled": True},
    "jobs": {"topicsExpect": "0a1b2c3d"},
    "workloads": {"files": {"replicas": 1, "claimName": "drop"}},
    "traces": {"endpoint": "http://collector.monitoring:4318/v1/traces"},
    "settings": {"timezone": "Europe/Berlin"},
    "signIn": {"issuer": "https://login.example", "clientId": "hub"},
}
Manifest = dict[str, Any]

pytestmark = pytest.mark.skipif(
    HELM is None and os.environ.get("ENGINES") != "required", reason="helm is not installed: make .tools/bin/helm"
)


def helm(given: dict[str, Any], *more: str) -> subprocess.CompletedProcess[str]:
    assert HELM is not None, "ENGINES=required, and helm is not installed: make .tools/bin/helm"
    command: list[str | Path] = [
        HELM,
        "template",
        "hub",
        CHART,
        "--namespace",
        "exchange",
        "--kube-version",
        "1.34.0",
        "--values",
        "-",
    ]
    return subprocess.run([*command, *more], input=yaml.safe_dump(given), capture_output=True, text=True, check=False)


def render(given: dict[str, Any]) -> list[Manifest]:
    ran = helm(given)
    assert ran.returncode == 0, ran.stderr
    return [one for one in yaml.safe_load_all(ran.stdout) if one]


@cache
def rendered() -> tuple[Manifest, ...]:
    """Everything that the chart can make, switched on."""
    return tuple(render(GIVEN))


def of_kind(*kinds: str) -> list[Manifest]:
    return [one for one in rendered() if one["kind"] in kinds]


def pods() -> dict[str, Manifest]:
    """Return the pod template of every deployment and job, by component."""
    found = [one["spec"]["template"] for one in of_kind("Deployment", "Job")]
    return {one["metadata"]["labels"][COMPONENT]: one for one in found}


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


def variables(container: Manifest) -> dict[str, Any]:
    return {one["name"]: one.get("value") for one in container.get("env", ())}


@pytest.mark.parametrize("version", KUBERNETES)
def test_every_manifest_fits_the_schema_of_kubernetes(version: str) -> None:
    """Strictly: no field that there is not. ServiceMonitor is another project's kind."""
    for one in rendered():
        if one["kind"] != "ServiceMonitor":
            kubernetes_validate.validate(one, version, strict=True)


def test_a_field_that_kubernetes_does_not_know_would_be_noticed() -> None:
    """The check itself can fail."""
    spoilt = {**of_kind("PodDisruptionBudget")[0], "spec": {"maxUnavailible": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(spoilt, KUBERNETES[-1], strict=True)


def test_each_part_is_a_workload_of_its_own_and_says_so_to_the_hub() -> None:
    """One deployment for each, started with `--only`; the doors have services."""
    started = {
        one["metadata"]["name"]: one["spec"]["template"]["spec"]["containers"][0]["args"]
        for one in of_kind("Deployment")
    }
    assert started == {f"hub-{part}": ["serve", "--only", part] for part in PARTS}
    ports = {one["metadata"]["name"]: [each["port"] for each in one["spec"]["ports"]] for one in of_kind("Service")}
    assert ports == {f"hub-{part}-operations": [8081] for part in PARTS} | {"hub-web": [8000], "hub-handout": [8000]}


def test_no_manifest_holds_a_secret() -> None:
    """None is made, none is a variable's value; they are named, and come as files."""
    assert [place for one in rendered() for place in leaks(one)] == []
    assert of_kind("Secret") == []
    for pod in pods().values():
        for container in containers(pod):
            for name in variables(container):
                assert not SECRET_NAME.search(name) or name.endswith("_FILE"), name
            assert all("value" in one for one in container.get("env", ()))  # nor one that comes from a Secret


SECRETS = {  # which of the values' secrets each pod is given
    "web": {
        "hub-root-key",
        "hub-store",
        "hub-store-authority",
        "hub-metrics",
        "hub-bundle",
        "hub-bus-publish",
        "hub-bus-authority",
        "hub-sign-in",
    },
    "gate": {"hub-root-key", "hub-store", "hub-store-authority", "hub-metrics", "hub-bundle", "hub-bus-gate"}
    | {"hub-bus-publish", "hub-bus-authority"},
    "handout": {"hub-root-key", "hub-store", "hub-store-authority", "hub-metrics", "hub-bundle"},
    "webhooks": {"hub-root-key", "hub-store", "hub-store-authority", "hub-metrics", "hub-bundle"},
    "files": {
        "hub-root-key",
        "hub-store",
        "hub-store-authority",
        "hub-metrics",
        "hub-bundle",
        "hub-bus-publish",
        "hub-bus-authority",
    },
    "retention": {"hub-root-key", "hub-store", "hub-store-authority", "hub-metrics"},
    "migrate": {"hub-root-key", "hub-store", "hub-store-authority", "hub-store-owner", "hub-metrics"},
    "topics": {"hub-root-key", "hub-store", "hub-store-authority", "hub-metrics", "hub-bus-admin", "hub-bus-gate"}
    | {"hub-bus-publish", "hub-bus-authority"},
}


def test_each_pod_is_given_the_secrets_that_it_needs_and_no_other() -> None:
    """The owner of the schema signs in from one job only, the bus's administrator from another."""
    assert {name: secrets_of(pod) for name, pod in pods().items()} == SECRETS


def secrets_of(pod: Manifest) -> set[str]:
    volumes = pod["spec"]["volumes"]
    projected = {source["secret"]["name"] for one in volumes for source in one.get("projected", {}).get("sources", ())}
    return projected | {one["secret"]["secretName"] for one in volumes if "secret" in one}


def test_secrets_reach_the_hub_as_files_that_nobody_else_can_read() -> None:
    """Only the container that copies them to memory sees the mounted ones, which the kubelet opens to a group."""
    for name, pod in pods().items():
        seen = {one["name"] for one in containers(pod) for mount in one["volumeMounts"] if mount["name"] == "secrets"}
        assert seen == {"keys"}, name
        (copied,) = (one for one in pod["spec"]["volumes"] if one["name"] == "keys")
        assert copied["emptyDir"]["medium"] == "Memory"
        assert "umask 377" in pod["spec"]["initContainers"][0]["command"][-1]


@pytest.mark.parametrize("name", [*PARTS, "migrate", "topics"])
def test_a_pod_has_bounds_and_can_change_nothing_but_its_own_data(name: str) -> None:
    """Kubernetes' restricted profile, a read-only root, limits, an exact version, no token of the cluster."""
    spec = pods()[name]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(pods()[name]):
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        for bound in ("requests", "limits"):
            assert container["resources"][bound].keys() == {"cpu", "memory"}
        assert EXACT.fullmatch(container["image"]), container["image"]


def test_kubernetes_is_told_when_a_part_has_started_is_ready_and_hangs() -> None:
    """On the operations port, which every part has; OPA on its own."""
    for name in PARTS:
        for container in pods()[name]["spec"]["containers"]:
            probes = {key: container[key]["httpGet"] for key in ("livenessProbe", "readinessProbe")}
            if container["name"] == "hub":
                probes["startupProbe"] = container["startupProbe"]["httpGet"]
                assert probes["readinessProbe"] == {"path": "/readyz", "port": "operations"}
            assert {one["port"] for one in probes.values()} <= {one["name"] for one in container["ports"]}


def test_the_policy_engine_stands_beside_each_part_that_decides_and_answers_nobody_else() -> None:
    """Its questions come over the pod's loopback."""
    with_opa = {
        name: pod for name, pod in pods().items() if any(one["name"] == "opa" for one in pod["spec"]["containers"])
    }
    assert with_opa.keys() == DECIDE
    for pod in with_opa.values():
        hub, opa = pod["spec"]["containers"]
        assert "--addr=127.0.0.1:8181" in opa["args"]
        assert variables(hub)["HUB_OPA_URL"] == "http://127.0.0.1:8181"
    (config,) = of_kind("ConfigMap")
    assert config["data"]["opa.yaml"] == GIVEN["opa"]["config"]
    first = render({key: value for key, value in GIVEN.items() if key != "opa"})  # no key is known before the store is
    assert [one["data"] for one in first if one["kind"] == "ConfigMap"] == [{"opa.yaml": "{}"}]


def test_what_scales_may_lose_one_at_a_time_and_has_no_fixed_number() -> None:
    """Every part has a budget; web and gate grow by themselves; whose claim one pod mounts is replaced, not doubled."""
    deployments = {one["metadata"]["name"]: one["spec"] for one in of_kind("Deployment")}
    scaled = {one["spec"]["scaleTargetRef"]["name"] for one in of_kind("HorizontalPodAutoscaler")}
    assert scaled == {"hub-web", "hub-gate"}
    for name, spec in deployments.items():
        assert ("replicas" in spec) != (name in scaled), name
        (budget,) = [
            one["spec"] for one in of_kind("PodDisruptionBudget")
            if selects(one["spec"]["selector"], spec["template"]["metadata"]["labels"])
        ]  # fmt: skip
        assert budget["maxUnavailable"] == 1
        assert (spec["strategy"]["type"] == "Recreate") == (name == "hub-files")
        spread = spec["template"]["spec"]["topologySpreadConstraints"]
        assert {one["topologyKey"] for one in spread} == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
        assert all(selects(one["labelSelector"], spec["template"]["metadata"]["labels"]) for one in spread)


def test_the_hub_is_told_only_settings_and_commands_that_there_are() -> None:
    """A misspelt one would be refused at start, by every pod at once."""
    for name, pod in pods().items():
        hub = next(one for one in pod["spec"]["containers"] if one["name"] == "hub")
        assert unknown_settings(variables(hub)) == [], name
        assert unknown_command([str(word) for word in hub["args"]]) == [], name
    assert variables(pods()["web"]["spec"]["containers"][0])["HUB_TIMEZONE"] == "Europe/Berlin"


def test_the_schema_comes_first_and_topics_only_as_they_were_reviewed() -> None:
    """Hooks before and after; without a digest nobody touches the topics."""
    hooks = {one["metadata"]["name"]: one["metadata"]["annotations"]["helm.sh/hook"] for one in of_kind("Job")}
    assert hooks == {"hub-migrate": "pre-install,pre-upgrade", "hub-topics": "post-install,post-upgrade"}
    topics = pods()["topics"]["spec"]["containers"][0]
    assert topics["args"] == ["topics", "apply", "--expect", "0a1b2c3d"]
    without = render({key: value for key, value in GIVEN.items() if key != "jobs"})
    assert [one["metadata"]["name"] for one in without if one["kind"] == "Job"] == ["hub-migrate"]


REFUSED: dict[str, dict[str, Any]] = {
    "no issuer": {"issuer": ""},
    "an issuer without TLS": {"issuer": "http://hub.example"},
    "a password in the DSN": {"store": {"dsn": "postgresql://hub:pw@postgres/hub"}},
    "a secret among the settings": {"settings": {"metrics_token_file": "/etc/x"}},
    "the newest image, whatever it is": {"image": {"tag": "latest"}},
    "two that mount the agencies' files": {"workloads": {"files": {"replicas": 2, "claimName": "drop"}}},
    "a provider without TLS": {"signIn": {"issuer": "http://login.example", "clientId": "hub"}},
    "a provider that does not know the hub": {"signIn": {"issuer": "https://login.example", "clientId": ""}},
    "no retention": {"workloads": {"retention": {"replicas": 0}}},
    "a container without limits": {"workloads": {"web": {"resources": {"limits": None}}}},
    "a misspelt value": {"imag": {}},
    "bundles that nobody verifies": {"opa": {"config": "bundles: {hub: {service: hub}}"}},
    "a bus without TLS": {"bus": {"security": "PLAINTEXT"}},
    "file drop without a place": {"workloads": {"files": {"replicas": 1, "claimName": ""}}},
    "doors without TLS": {"ingress": {"enabled": True, "host": "hub.example", "tlsSecretName": ""}},
}


@pytest.mark.parametrize("given", REFUSED.values(), ids=REFUSED)
def test_what_would_be_unsafe_is_not_rendered(given: dict[str, Any]) -> None:
    """The chart says no before a cluster does."""
    ran = helm({**GIVEN, **given})
    assert ran.returncode != 0
    assert ran.stdout == ""


# Who may reach whom.
HOME = {"kubernetes.io/metadata.name": "exchange"}
PORTS = (53, 443, 4318, 5432, 8000, 8080, 8081, 8181, 8282, 9092)


def space(name: str) -> dict[str, str]:
    return {"kubernetes.io/metadata.name": name}


def peers() -> list[Peer]:
    own = [Peer(name, pod["metadata"]["labels"], HOME) for name, pod in pods().items()]
    return [
        *own,
        Peer("PostgreSQL", {"app.kubernetes.io/name": "postgres"}, HOME),
        Peer("Kafka", {"app.kubernetes.io/name": "kafka"}, HOME),
        Peer("another pod", {"app.kubernetes.io/name": "another"}, HOME),
        Peer("ingress", {}, space("ingress-nginx")),
        Peer("Prometheus, collector", {}, space("monitoring")),
        Peer("DNS", {}, space("kube-system")),
        Peer("another namespace", {}, space("another")),
        Peer("the internet", address="203.0.113.7"),
        Peer("a private network", address="10.9.8.7"),
        Peer("the machine's own secrets", address="169.254.169.254"),
    ]


def reachable() -> dict[tuple[str, int], set[str]]:
    """Return who opens a connection to (whom, port), where one of the two is the hub's or a store of its."""
    network = Network(of_kind("NetworkPolicy"), HOME)
    ours = {*pods(), "PostgreSQL", "Kafka"}
    found: dict[tuple[str, int], set[str]] = {}
    for to in peers():
        for source in peers():
            if source.name == to.name and source.name not in pods():
                continue  # a store's own copies
            between_stores_and_world = source.name in ("PostgreSQL", "Kafka") and to.name not in ours
            if not {source.name, to.name} & ours or between_stores_and_world:
                continue
            for port in PORTS:
                if network.opens(source, to, port):
                    found.setdefault((to.name, port), set()).add(source.name)
    return found


def test_who_may_reach_whom_is_what_the_page_says() -> None:
    """Computed from the rendered policies as a cluster's network would; paste the rows into deploy/README.md."""
    rows = [f"| {to} | {port} | {', '.join(sorted(sources))} |" for (to, port), sources in sorted(reachable().items())]
    page = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")
    table = page.partition("| to | port | from |\n| --- | --- | --- |\n")[2].partition("\n\n")[0].splitlines()
    assert table == rows, "\n" + "\n".join(rows)


def test_only_the_hub_reaches_its_stores_and_only_who_publishes_and_the_gate_the_intake() -> None:
    """Whatever the page says: nobody else of the namespace or of the cluster, on no port."""
    found = reachable()
    reach = {to: set().union(*[who for (name, _), who in found.items() if name == to]) for to, _ in found}
    assert reach["PostgreSQL"] == {*PARTS, "migrate", "topics"}
    assert reach["Kafka"] == {"web", "files", "gate", "topics"}
    assert {to for (to, _), who in found.items() if "another pod" in who or "another namespace" in who} == set()
    assert {to for (to, _), who in found.items() if "gate" in who} == {
        "PostgreSQL", "Kafka", "DNS", "web", "Prometheus, collector",
    }  # fmt: skip
    assert {(to, port) for (to, port), who in found.items() if "webhooks" in who and to.startswith(("the ", "a "))} == {
        ("the internet", 443)
    }
    assert not any(port in (8181, 8282) for _, port in found)


def test_every_policy_selects_pods_that_there_are() -> None:
    """A misspelt label would leave open, or shut, what nobody notices."""
    labelled = [peer.labels for peer in peers() if peer.space == HOME]
    for one in of_kind("NetworkPolicy"):
        selector = one["spec"]["podSelector"]
        assert any(selects(selector, labels) for labels in labelled), one["metadata"]["name"]
        for expression in selector.get("matchExpressions", ()):
            assert set(expression["values"]) <= {labels.get(COMPONENT) for labels in labelled}
