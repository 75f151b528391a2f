"""The configuration of a bridge. TOML; paths in it are meant from its own folder; every mistake is told at once.

servers = ["kafka.agency.example:9093"]
[security]                          # left out: plain text, on this machine only
protocol = "SASL_SSL"
mechanism = "SCRAM-SHA-512"
username = "hub-bridge"
password_file = "hub-bridge.password"
[feed]
topic = "hub.deliveries"
kinds = ["data", "correction", "stop", "delete", "test", "notice"]
[publish]
topics = ["registry.births"]
group = "hub-bridge"
records = "cloudevents"             # or "rows", with map = "births.toml"
refused = "halt"                    # or "dead-letters", with dead_letters = "registry.births.refused"
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from agency_adapters.channel import is_loopback
from agency_adapters.client import KNOWN_KINDS, NOTICE
from agency_adapters.errors import AgencyError

PROTOCOLS = ("PLAINTEXT", "SASL_PLAINTEXT", "SSL", "SASL_SSL")
SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")
OAUTHBEARER = "OAUTHBEARER"
FORMS = ("structured", "binary")
RECORDS = ("cloudevents", "rows")
REFUSED = ("halt", "dead-letters")
KINDS = KNOWN_KINDS | {NOTICE}
BATCH_RECORDS = 100  # per request to the hub, and as many offsets at most are gone through again after a crash
LONGEST_BATCH = 500  # the hub's limit
SESSION_S = 10  # until the partitions of a bridge that died go to another; brokers allow 6 s at least
LONGEST_SESSION_S = 300
LONGEST_TOPIC = 249  # Kafka's own limit
_TOPIC_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


@dataclass(frozen=True, slots=True)
class TokenSource:
    """Where access tokens come from: OAuth 2 client credentials (RFC 6749 4.4), by a secret or a key (RFC 7523)."""

    url: str
    client_id: str
    secret_file: Path | None = None
    key_file: Path | None = None
    scope: str = ""
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """How the cluster is reached, and as whom. Secrets are in files only, and read anew with each connection."""

    servers: tuple[str, ...]
    protocol: str = "PLAINTEXT"
    mechanism: str = ""
    username: str = ""
    password_file: Path | None = None
    ca_file: Path | None = None  # a private CA: then only it is trusted
    certificate_file: Path | None = None
    key_file: Path | None = None
    token: TokenSource | None = None


@dataclass(frozen=True, slots=True)
class Feed:
    """Which topic deliveries go to, by dataset where `topics` names it. `kinds`: what the topics' readers know."""

    topic: str
    kinds: frozenset[str]
    topics: Mapping[str, str]
    form: str = FORMS[0]

    def topic_of(self, dataset: str) -> str:
        """Return the topic of a delivery; a stop, delete or notice names no dataset and goes to `topic`."""
        return self.topics.get(dataset, self.topic)

    def all_topics(self) -> tuple[str, ...]:
        """Name every topic, once."""
        return tuple(dict.fromkeys((self.topic, *self.topics.values())))


@dataclass(frozen=True, slots=True)
class Publish:
    """Which topics are published, and what becomes of a record that the hub refuses (`dead_letters` empty: halt)."""

    topics: tuple[str, ...]
    group: str
    records: str = RECORDS[0]
    map: Path | None = None
    dead_letters: str = ""
    batch_records: int = BATCH_RECORDS
    session_s: int = SESSION_S


@dataclass(frozen=True, slots=True)
class Bridge:
    """A configuration that was read."""

    name: str
    access: Access
    feed: Feed | None = None
    publish: Publish | None = None


_TOP = {"servers": list, "security": dict, "feed": dict, "publish": dict}
_SECURITY = {
    "protocol": str, "mechanism": str, "username": str, "password_file": str, "ca_file": str, "certificate_file": str,
    "key_file": str, "token": dict, "trusted_network": bool,
}  # fmt: skip
_TOKEN = {"url": str, "client_id": str, "secret_file": str, "key_file": str, "scope": str, "ca_file": str}
_FEED = {"topic": str, "topics": dict, "kinds": list, "form": str}
_PUBLISH = {
    "topics": list, "group": str, "records": str, "map": str, "refused": str, "dead_letters": str,
    "batch_records": int, "session_s": int,
}  # fmt: skip


class _Sheet:
    """The file being read: findings are collected, so that all of them are told at once."""

    def __init__(self, path: Path) -> None:
        self.folder, self.findings = path.resolve().parent, list[str]()

    def note(self, what: str) -> None:
        self.findings.append(what)

    def known(self, where: str, given: Mapping[str, Any], kinds: Mapping[str, type]) -> dict[str, Any]:
        """Keep what is known and of its type; note the rest, never with a value."""
        kept = {}
        for key, value in given.items():
            if key not in kinds:
                near = get_close_matches(key, list(kinds), n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(kinds)}"
                self.note(f"{where}{key} means nothing: {hint}")
            elif not isinstance(value, kinds[key]) or (kinds[key] is int and isinstance(value, bool)):
                self.note(f"{where}{key} has the wrong type")
            else:
                kept[key] = value
        return kept

    def needed(self, where: str, given: Mapping[str, Any], *names: str) -> None:
        for name in names:
            if not given.get(name):
                self.note(f"{where}{name} is missing")

    def one_of(self, where: str, value: Any, choices: tuple[str, ...]) -> None:
        if value not in choices:
            self.note(f"{where} is one of {', '.join(choices)}")

    def path(self, given: Mapping[str, Any], name: str) -> Path | None:
        return self.folder / given[name] if given.get(name) else None

    def topics(self, where: str, names: Any) -> tuple[str, ...]:
        for name in names:
            if not isinstance(name, str) or not 0 < len(name) <= LONGEST_TOPIC or not set(name) <= _TOPIC_CHARACTERS:
                self.note(f"{where} names a topic that cannot be: letters, digits, . _ - and {LONGEST_TOPIC} at most")
        return tuple(map(str, names))


def read_config(path: Path) -> Bridge:
    """Read a configuration. Raises `AgencyError` with everything that is wrong in it."""
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise AgencyError(f"{path.name} is not TOML: {error}", remedy="Mend that place in it.") from error
    except (OSError, UnicodeDecodeError) as error:
        remedy = "Name a file like the examples in agency_adapters/README.md."
        raise AgencyError(f"the configuration {path} cannot be read", remedy=remedy) from error
    sheet = _Sheet(path)
    top = sheet.known("", given, _TOP)
    access = _access(sheet, top)
    feed = _feed(sheet, top["feed"]) if "feed" in top else None
    publish = _publish(sheet, top["publish"]) if "publish" in top else None
    if sheet.findings:
        listed = "".join(f"\n  - {finding}" for finding in sheet.findings)
        raise AgencyError(f"{path.name}: nothing was done, for{listed}\n", remedy=f"Mend {path.name} and run it again.")
    return Bridge(path.stem, access, feed, publish)


def _access(sheet: _Sheet, top: Mapping[str, Any]) -> Access:
    sheet.needed("", top, "servers")
    servers = tuple(map(str, top.get("servers", ())))
    for server in servers:
        host, _, port = server.rpartition(":")
        if not host or not port.isdecimal():
            sheet.note("servers are written like kafka.agency.example:9093")
    said = sheet.known("security.", top.get("security", {}), _SECURITY)
    protocol = said.get("protocol", "PLAINTEXT")
    sheet.one_of("security.protocol", protocol, PROTOCOLS)
    _check_line(sheet, servers, protocol, trusted=said.get("trusted_network", False))
    _check_sign_in(sheet, said, protocol)
    if ("certificate_file" in said) != ("key_file" in said):
        sheet.note("security.certificate_file and security.key_file go together")
    return Access(
        servers,
        protocol,
        said.get("mechanism", ""),
        said.get("username", ""),
        sheet.path(said, "password_file"),
        sheet.path(said, "ca_file"),
        sheet.path(said, "certificate_file"),
        sheet.path(said, "key_file"),
        _token(sheet, said["token"]) if "token" in said else None,
    )


def _check_line(sheet: _Sheet, servers: tuple[str, ...], protocol: str, *, trusted: bool) -> None:
    local = all(is_loopback(server.rpartition(":")[0].strip("[]")) for server in servers)
    if protocol in PROTOCOLS[:2] and not local and not trusted:
        sheet.note(
            f"security.protocol {protocol} sends people's data in the clear: take SSL or SASL_SSL, or say"
            " trusted_network = true where something else encrypts the line"
        )


def _check_sign_in(sheet: _Sheet, said: Mapping[str, Any], protocol: str) -> None:
    if not protocol.startswith("SASL_"):
        if said.keys() & {"mechanism", "username", "password_file", "token"}:
            sheet.note(f"security.protocol {protocol} takes no mechanism, username, password_file or token")
        return
    mechanism = said.get("mechanism")
    sheet.one_of("security.mechanism", mechanism, (*SCRAM, OAUTHBEARER))
    if mechanism in SCRAM:
        sheet.needed("security.", said, "username", "password_file")
    if mechanism == OAUTHBEARER:
        sheet.needed("security.", said, "token")


def _token(sheet: _Sheet, given: Mapping[str, Any]) -> TokenSource:
    said = sheet.known("security.token.", given, _TOKEN)
    sheet.needed("security.token.", said, "url", "client_id")
    parts = urlsplit(said.get("url", ""))
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_here(parts.hostname)):
        sheet.note("security.token.url is an https address; plain http is for this machine only")
    if parts.username or parts.password:
        sheet.note("security.token.url holds a sign-in: secrets are in files only")
    if len({"secret_file", "key_file"} & said.keys()) != 1:
        sheet.note("security.token needs secret_file or key_file, one of them")
    return TokenSource(
        said.get("url", ""), said.get("client_id", ""), sheet.path(said, "secret_file"), sheet.path(said, "key_file"),
        said.get("scope", ""), sheet.path(said, "ca_file"),
    )  # fmt: skip


def _is_here(host: str | None) -> bool:
    return bool(host) and is_loopback(str(host))


def _feed(sheet: _Sheet, given: Mapping[str, Any]) -> Feed:
    said = sheet.known("feed.", given, _FEED)
    sheet.needed("feed.", said, "topic", "kinds")
    kinds = frozenset(map(str, said.get("kinds", ())))
    if strange := sorted(kinds - KINDS):
        sheet.note(f"feed.kinds: {', '.join(strange)} is nothing that a topic can handle; {', '.join(sorted(KINDS))}")
    form = said.get("form", FORMS[0])
    sheet.one_of("feed.form", form, FORMS)
    topics = said.get("topics", {})
    sheet.topics("feed", [said.get("topic", "-"), *topics.values()])
    return Feed(said.get("topic", ""), kinds, topics, form)


def _publish(sheet: _Sheet, given: Mapping[str, Any]) -> Publish:
    said = sheet.known("publish.", given, _PUBLISH)
    sheet.needed("publish.", said, "topics", "group", "refused")
    records = said.get("records", RECORDS[0])
    sheet.one_of("publish.records", records, RECORDS)
    if (records == "rows") != bool(said.get("map")):
        sheet.note('publish.map, the mapping of columns to fields, is for records = "rows" and needed there')
    if "refused" in said:
        sheet.one_of("publish.refused", said["refused"], REFUSED)
        if (said["refused"] == "dead-letters") != bool(said.get("dead_letters")):
            sheet.note('publish.dead_letters, a topic, is for refused = "dead-letters" and needed there')
    topics = sheet.topics("publish", said.get("topics", ()))
    if said.get("dead_letters") in topics:
        sheet.note("publish.dead_letters is one of the topics that are published")
    sheet.topics("publish", [said.get("dead_letters") or "-"])
    batch, session_s = said.get("batch_records", BATCH_RECORDS), said.get("session_s", SESSION_S)
    if not 1 <= batch <= LONGEST_BATCH or not 1 <= session_s <= LONGEST_SESSION_S:
        sheet.note(f"publish.batch_records is 1 to {LONGEST_BATCH}, publish.session_s 1 to {LONGEST_SESSION_S}")
    return Publish(
        topics, said.get("group", ""), records, sheet.path(said, "map"), said.get("dead_letters", ""), batch, session_s
    )
