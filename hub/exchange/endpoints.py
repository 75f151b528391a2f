"""Where a webhook may go: an address that the hub was told by an agency must not reach what only the hub can reach.

A name is resolved once per connection, every address it has is looked at, and the connection goes to exactly one of
those (`hub/exchange/post.py`): nobody can answer the check with one address and the connection with another. What is
no public address is refused, by IANA's special-purpose registries rather than by a guess, in every form in which a
version-6 address can hold one of version 4. Private networks are an operator's decision (`webhook_private_networks`).
"""

import re
import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple
from urllib.parse import urlsplit

from hub.core.errors import HubError, Kind

URL_CHARS = 2_000
DEFAULT_PORTS = {"https": 443, "http": 80}
LEAST_FREE_PORT = 1_024  # below are mail, shells, name servers: nothing there is a webhook's receiver, but 443
PRINTABLE = re.compile(r"[!-~]+")
LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.IGNORECASE)
NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+", re.IGNORECASE)
HOST_CHARS = 253

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolve = Callable[[str, int], Sequence[str]]
"""Return every address of a host as text. Raises OSError when it has none."""

NOT_PUBLIC = tuple(
    ip_network(text)
    for text in (
        # iana.org/assignments/iana-ipv4-special-registry, and multicast (RFC 5771)
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        # iana.org/assignments/iana-ipv6-special-registry; unicast that is given out begins with 2000::/3 (RFC 4291)
        "::/3", "2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20", "4000::/2", "8000::/1",
    )
)  # fmt: skip
NEVER = frozenset(  # who asks one of these is told a machine's own secrets: no setting opens them
    ip_address(text)
    for text in ("169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "fd00:ec2::254")
)
NAT64 = ip_network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an address of version 4


class Endpoint(NamedTuple):
    """A URL that was taken apart once; what is sent is put together from these parts only."""

    scheme: str  # http | https
    host: str  # a name, or an address without brackets
    port: int
    target: str  # path and query
    authority: str  # for the header Host


class Reach(NamedTuple):
    """What may be reached besides public addresses."""

    private: tuple[Network, ...] = ()
    loopback: bool = False  # demo and development: this machine, by http as well, where the URL says so itself


def read_endpoint(url: str, reach: Reach) -> Endpoint:
    """Take a URL apart. Raises HubError(INVALID) for every form that has no place here; nothing is resolved yet."""
    if not 0 < len(url) <= URL_CHARS or not PRINTABLE.fullmatch(url) or "\\" in url:
        raise _bad_url(f"It is not 1 to {URL_CHARS} printable ASCII characters without a backslash.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as cause:
        raise _bad_url("It is not a URL.") from cause
    if parts.scheme not in DEFAULT_PORTS:
        raise _bad_url("It does not begin with https://.")
    if "@" in parts.netloc:
        raise _bad_url("It holds a name or a password; a secret belongs into the path or the query.")
    if parts.fragment or "#" in url:
        raise _bad_url("It has a fragment, which no server ever sees.")
    host = _host(parts.hostname or "")
    if "[" in parts.netloc and ":" not in host:
        raise _bad_url("Its host is not an address of version 6.")
    if parts.scheme == "http" and not (reach.loopback and says_loopback(host)):
        raise _bad_url("Plain http would show its messages to everybody on the way.")
    port = DEFAULT_PORTS[parts.scheme] if port is None else port
    if port != DEFAULT_PORTS["https"] and port < LEAST_FREE_PORT and parts.scheme == "https":
        raise _bad_url(f"Its port is neither 443 nor one from {LEAST_FREE_PORT} on.")
    shown = f"[{host}]" if ":" in host else host
    authority = shown if port == DEFAULT_PORTS[parts.scheme] else f"{shown}:{port}"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Endpoint(parts.scheme, host, port, target, authority)


def pin(endpoint: Endpoint, reach: Reach, resolve: Resolve) -> tuple[str, ...]:
    """Resolve once, and return the addresses to connect to. Raises HubError(INVALID): refused-address, no-address.

    One address that is refused refuses them all: which of them a connection took would be chance.
    """
    try:
        found = resolve(endpoint.host, endpoint.port)
    except (OSError, UnicodeError) as cause:
        raise _bad_address("its name has no address now", "webhook-unresolved") from cause
    pinned = []
    for text in found:
        try:
            address = ip_address(text.partition("%")[0])
        except ValueError as cause:
            raise _bad_address("its name has an address that is none", "webhook-address") from cause
        if why := refusal(address, reach, loopback=says_loopback(endpoint.host)):
            raise _bad_address(f"it leads to {why}", "webhook-address")
        pinned.append(str(address))
    if not pinned:
        raise _bad_address("its name has no address now", "webhook-unresolved")
    return tuple(dict.fromkeys(pinned))


def refusal(address: Address, reach: Reach, *, loopback: bool = False) -> str:
    """Say in words why an address is refused; "" where it may be reached. `loopback`: the URL itself names it."""
    for one in (address, *_inner(address)):
        if one in NEVER:
            return "a machine's own service for its secrets"
    if reach.loopback and loopback and address.is_loopback:
        return ""
    inner = _inner(address)
    if inner:  # nobody's resolver gives out such a form for a public host: what it hides is not looked for further
        return "an address within another address"
    if any(address in network for network in reach.private if network.version == address.version):
        return ""
    if any(address in network for network in NOT_PUBLIC if network.version == address.version):
        return "an address that is not public"
    if not address.is_global:
        return "an address that is not public"
    return ""


def says_loopback(host: str) -> bool:
    """Say whether a host is this machine by what it is called, whatever a resolver says."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def system_resolve(host: str, port: int) -> Sequence[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [str(each[4][0]) for each in found]


def _host(host: str) -> str:
    """Check a host: a name of labels, or an address in its one usual form.

    `0x7f.1`, `2130706433` and `0177.0.0.1` are names to a parser and addresses to a resolver: none passes.
    """
    if ":" in host:
        try:
            address = IPv6Address(host)
        except ValueError as cause:
            raise _bad_url("Its host is not an address of version 6.") from cause
        if address.scope_id is not None:
            raise _bad_url("Its host names a network card of this machine.")
        return str(address)
    labels = host.removesuffix(".").split(".")
    if NUMBER.fullmatch(labels[-1]):
        try:
            return str(IPv4Address(host))  # four decimal numbers without leading zeros, nothing else
        except ValueError as cause:
            raise _bad_url("Its host is a number in an unusual form.") from cause
    if not 0 < len(host) <= HOST_CHARS or not all(LABEL.fullmatch(label) for label in labels):
        raise _bad_url("Its host is not a name of letters, digits and hyphens; write others as xn--.")
    return host.lower().removesuffix(".")


def _inner(address: Address) -> tuple[Address, ...]:
    """Return the addresses of version 4 that one of version 6 stands for: mapped, 6to4, Teredo, NAT64, compatible."""
    if isinstance(address, IPv4Address):
        return ()
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in NAT64 or (address.packed[:12] == bytes(12) and int(address) > 1):
        found.append(IPv4Address(address.packed[12:]))
    return tuple(one for one in found if one is not None)


def _bad_url(what: str) -> HubError:
    return HubError(
        Kind.INVALID,
        f"This URL cannot be a webhook's. {what}",
        where="/url",
        remedy="Name an https:// address that the hub can reach, with a public host and port 443 or one from 1024 on.",
        code="webhook-url",
    )


def _bad_address(why: str, code: str) -> HubError:
    return HubError(
        Kind.INVALID,
        f"The webhook's host cannot be used: {why}.",
        where="/url",
        remedy="Name a host with public addresses only; the hub's operator may allow a private network.",
        code=code,
    )
