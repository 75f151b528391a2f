"""Where a webhook may go: no form of an address, and no trick of a resolver, leads to what only the hub can reach."""

import socket
from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.errors import HubError
from hub.exchange.endpoints import NOT_PUBLIC, Reach, pin, read_endpoint, refusal, system_resolve
from hub.exchange.post import Limits, Line, trusting

PRODUCTION = Reach()
DEMO = Reach(loopback=True)
PUBLIC = "93.184.216.34"

NO_URL = (
    "", "hub", "//receiver.example/", "http://receiver.example/", "ftp://receiver.example/", "file:///etc/passwd",
    "gopher://receiver.example/", "javascript:alert(1)", "https://", "https:///path", "https://user@receiver.example/",
    "https://user:secret@receiver.example/", "https://receiver.example@10.0.0.1/", "https://receiver.example/#part",
    "https://receiver.example/#", "https://receiver.example:22/", "https://receiver.example:25/",
    "https://receiver.example:80/", "https://receiver.example:0/", "https://receiver.example:99999/",
    "https://receiver.example:x/", "https://receiver example/", "https://receiver.example/a b",
    "https://receiver.example/\r\nx: y", "https://receiver.example\\@10.0.0.1/", "https://receiver.example/\\x",
    "https://r\u0435ceiver.example/", "https://receiver.example/" + "a" * 2_000, "https://-receiver.example/",
    "https://receiver..example/", "https://.example/", "https://%31%32%37.0.0.1/", "https://receiver.example%00/",
    "https://[::1%25lo]/", "https://[fe80::1%eth0]/", "https://[::1/", "https://[v1.x]/", "https://[1.2.3.4]/",
    # one address in forms that only some resolvers understand
    "https://2130706433/", "https://017700000001/", "https://0x7f000001/", "https://0x7f.0.0.1/", "https://0177.0.0.1/",
    "https://127.1/", "https://127.0.1/", "https://127.0.0.01/", "https://127.0.0.1.1/", "https://0/", "https://0x0/",
    "https://1.2.3.0x4/", "https://256.1.1.1/",
)  # fmt: skip


@pytest.mark.parametrize("url", NO_URL)
def test_a_url_of_a_form_that_has_no_place_here_is_refused_before_anything_is_resolved(url: str) -> None:
    """By its form alone; the refusal says what to do and repeats nothing of it."""
    with pytest.raises(HubError) as caught:
        read_endpoint(url, PRODUCTION)
    assert (caught.value.code, caught.value.where) == ("webhook-url", "/url")
    assert caught.value.remedy


def test_a_url_is_put_together_again_from_its_parts() -> None:
    """Host in small letters, no default port, path and query as they stood."""
    found = read_endpoint("https://Receiver.Example:8443/in/box?key=1", PRODUCTION)
    assert found == ("https", "receiver.example", 8443, "/in/box?key=1", "receiver.example:8443")
    assert read_endpoint("https://receiver.example", PRODUCTION)[1:] == (
        "receiver.example",
        443,
        "/",
        "receiver.example",
    )
    assert read_endpoint("https://[2606:4700::11]:443/", PRODUCTION).authority == "[2606:4700::11]"
    assert read_endpoint("https://receiver.example./x", PRODUCTION).authority == "receiver.example"


NOT_REACHED = (
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.0.1",
    "169.254.0.1", "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1",
    "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1",
    "239.255.255.255", "240.0.0.1", "255.255.255.255", "100.100.100.200", "168.63.129.16",
    "::", "::1", "::2", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:93.184.216.34",
    "::127.0.0.1", "::93.184.216.34", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::5db8:d822", "64:ff9b:1::1",
    "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "2002:7f00:1::", "2002:a9fe:a9fe::1",
    "3fff::1", "5f00::1", "fc00::1", "fd00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "4000::1", "8000::1",
)  # fmt: skip


@pytest.mark.parametrize("address", NOT_REACHED)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    """Loopback, private, link-local, shared, documentation, benchmarks, multicast, reserved, and one within another."""
    assert refusal(ip_address(address), PRODUCTION)


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:4700::1111", "2a00:1450:4001::200e", "172.32.0.1"])
def test_a_public_address_may_be_reached(address: str) -> None:
    """The list refuses what it names, and nothing beside it."""
    assert refusal(ip_address(address), PRODUCTION) == ""


@given(st.integers(0, 2**32 - 1))
def test_nothing_of_version_4_that_python_calls_private_or_reserved_passes(number: int) -> None:
    """The table is at least as strict as the standard library, and no form of version 6 gets an address through."""
    address = ip_address(number)
    if not address.is_global or address.is_multicast or address.is_reserved:
        assert refusal(address, PRODUCTION)
        for hidden in (f"::ffff:{address}", f"64:ff9b::{address}", f"::{address}"):
            assert refusal(ip_address(hidden), PRODUCTION)


@given(st.integers(0, 2**128 - 1))
def test_of_version_6_only_what_is_given_out_passes(number: int) -> None:
    """2000::/3, less what is special in it."""
    address = ip_address(number.to_bytes(16))
    if address not in ip_network("2000::/3") or not address.is_global:
        assert refusal(address, PRODUCTION)


def test_a_name_with_one_address_that_is_refused_is_refused_whole() -> None:
    """Which of them a connection took would be chance."""
    endpoint = read_endpoint("https://receiver.example/", PRODUCTION)
    assert pin(endpoint, PRODUCTION, lambda *_: [PUBLIC, "8.8.8.8", PUBLIC]) == (PUBLIC, "8.8.8.8")
    mixed = [[PUBLIC, "10.0.0.1"], ["10.0.0.1", PUBLIC], [PUBLIC, "::1"], ["not an address"], []]
    while mixed:
        with pytest.raises(HubError):
            pin(endpoint, PRODUCTION, lambda *_: mixed.pop())


def test_a_name_without_an_address_is_told_apart_from_a_refused_one() -> None:
    """The one may have one tomorrow."""

    def nothing(_host: str, _port: int) -> Sequence[str]:
        raise socket.gaierror

    with pytest.raises(HubError) as caught:
        pin(read_endpoint("https://receiver.example/", PRODUCTION), PRODUCTION, nothing)
    assert caught.value.code == "webhook-unresolved"


def test_a_resolver_that_answers_differently_the_second_time_is_asked_once() -> None:
    """The connection goes to what was checked: whoever rebinds the name in between changes nothing."""
    with socket.create_server(("127.0.0.1", 0)) as meant, socket.create_server(("127.0.0.2", 0)) as rebound:
        port = meant.getsockname()[1]
        answers = iter([["127.0.0.1"], ["127.0.0.2"]])
        endpoint = read_endpoint(f"http://localhost:{port}/", DEMO)
        addresses = pin(endpoint, DEMO, lambda *_: next(answers))
        line = Line("", endpoint, addresses, tls=trusting(None), limits=Limits())
        meant.settimeout(2)
        accepted, _ = meant.accept()
        assert accepted.getsockname()[0] == "127.0.0.1"
        rebound.setblocking(False)
        with pytest.raises(BlockingIOError):
            rebound.accept()
        accepted.close()
        line.close()
        assert next(answers) == ["127.0.0.2"]  # nobody has asked again


def test_this_machine_is_reached_where_the_url_says_so_outside_production_only() -> None:
    """By http too; a public name that leads here is refused in a demo as well."""
    for url in ("http://127.0.0.1:8700/", "http://localhost:8700/", "https://[::1]:8700/"):
        endpoint = read_endpoint(url, DEMO)
        assert pin(endpoint, DEMO, system_resolve if "localhost" not in url else lambda *_: ["127.0.0.1"])
    with pytest.raises(HubError):
        read_endpoint("http://127.0.0.1:8700/", PRODUCTION)
    with pytest.raises(HubError):
        pin(read_endpoint("https://127.0.0.1:8700/", PRODUCTION), PRODUCTION, system_resolve)
    with pytest.raises(HubError):
        pin(read_endpoint("https://receiver.example/", DEMO), DEMO, lambda *_: ["127.0.0.1"])


def test_a_private_network_is_reached_where_the_operator_says_so_and_no_other() -> None:
    """A machine's own secrets stay closed whatever it says, and http stays refused."""
    reach = Reach((ip_network("10.20.0.0/16"), ip_network("169.254.0.0/16"), ip_network("fd00::/8")))
    assert refusal(ip_address("10.20.3.4"), reach) == ""
    assert refusal(ip_address("fd00::7"), reach) == ""
    for other in ("10.21.0.1", "127.0.0.1", "169.254.169.254", "fd00:ec2::254", "::ffff:10.20.3.4"):
        assert refusal(ip_address(other), reach)
    with pytest.raises(HubError):
        read_endpoint("http://10.20.3.4/", reach)


def test_the_table_covers_each_registry_entry_whole() -> None:
    """First and last address of every network in it."""
    for network in NOT_PUBLIC:
        for edge in (network[0], network[-1]):
            assert refusal(edge, PRODUCTION), str(edge)
