"""What rendered NetworkPolicies allow: who may open a connection to whom, as a cluster's network would decide it.

networking.k8s.io/v1: a pod that no policy selects for a direction is open in it; policies add up; a connection needs
the egress of its source and the ingress of its destination.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

Policy = dict[str, Any]


class Peer(NamedTuple):
    """A pod, or with `address` something outside the cluster. `space`: the labels of its namespace."""

    name: str
    labels: Mapping[str, str] = {}
    space: Mapping[str, str] = {}
    address: str = ""


class Network:
    """The policies of one namespace."""

    def __init__(self, policies: Iterable[Policy], home: Mapping[str, str]) -> None:
        self._policies, self._home = list(policies), home

    def opens(self, source: Peer, to: Peer, port: int, protocol: str = "TCP") -> bool:
        return self._lets("Egress", source, to, port, protocol) and self._lets("Ingress", to, source, port, protocol)

    def _lets(self, way: str, of: Peer, other: Peer, port: int, protocol: str) -> bool:
        if of.space != self._home or of.address:
            return True
        mine = [
            one["spec"] for one in self._policies
            if way in one["spec"]["policyTypes"] and selects(one["spec"]["podSelector"], of.labels)
        ]  # fmt: skip
        key, side = ("egress", "to") if way == "Egress" else ("ingress", "from")
        rules = [rule for spec in mine for rule in spec.get(key, ())]
        return not mine or any(self._fits(rule, side, other, port, protocol) for rule in rules)

    def _fits(self, rule: dict[str, Any], side: str, other: Peer, port: int, protocol: str) -> bool:
        ports = rule.get("ports")
        if ports and not any(one["port"] == port and one.get("protocol", "TCP") == protocol for one in ports):
            return False
        peers = rule.get(side)
        return not peers or any(self._is(one, other) for one in peers)

    def _is(self, said: dict[str, Any], other: Peer) -> bool:
        if "ipBlock" in said:
            block = said["ipBlock"]
            inside = bool(other.address) and ipaddress.ip_address(other.address) in ipaddress.ip_network(block["cidr"])
            out = [ipaddress.ip_network(one) for one in block.get("except", ())]
            return inside and not any(ipaddress.ip_address(other.address) in one for one in out)
        if other.address:
            return False
        spaces = said.get("namespaceSelector")
        here = other.space == self._home if spaces is None else selects(spaces, other.space)
        return here and selects(said.get("podSelector", {}), other.labels)


def selects(selector: dict[str, Any], labels: Mapping[str, str]) -> bool:
    """Say whether a label selector takes these labels; an empty one takes all."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for one in selector.get("matchExpressions", ()):
        assert one["operator"] == "In", one  # the only one that the chart uses
        if labels.get(one["key"]) not in one["values"]:
            return False
    return True
