"""Every knob of the hub in one frozen class: unit in the name, a default, and the reason for it.

Values come from `HUB_*` variables, then from `hub.toml` in the working directory (`HUB_FILE` names another), then from
the defaults. Nothing said means production: a forgotten variable must never open a door. `checked` refuses to start
an unsafe production; `deploy/README.md` lists all of this for operators, and a test keeps the two the same.
"""

# long: every knob, so that what can be turned is seen at one place
import ipaddress
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import Field, PositiveInt, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from hub.core.errors import HubError, Item, Kind
from hub.parts import ALL, ON_THE_BUS, Part, shown

PREFIX = "HUB_"
FILE_VARIABLE = "HUB_FILE"  # names the TOML file; not a setting itself
FOR_TESTS = frozenset(  # speak to the tests only
    {"HUB_REQUIRE_OPA", "HUB_REQUIRE_ASYNCAPI", "HUB_REQUIRE_PROMTOOL", "HUB_REQUIRE_BROWSER"}
)
NOT_SETTINGS = FOR_TESTS | {FILE_VARIABLE}
DEMO_MARK = "demo-data"  # a file of this name in data_dir says that invented people live there
DEMO_PEOPLE = "demo-people.json"  # in data_dir: whom the page of the demo's sign-in lists
OFFICERS = "officers"  # a folder of this name in data_dir holds the keys of invented officers
CLOCK_OFF_MOST_S = 300  # what a publisher's clock may run ahead, too: beyond it no clock is kept at all
INTAKE_RETENTION_MOST_DAYS = 7  # promise 8: an erased person's intake is unreadable after a week at the latest
POSTGRES = "postgresql://"
LEAST_PREFIX = 8  # of a private network that webhooks may reach: 10.0.0.0/8 is the largest there is
EIDAS = (  # Implementing Regulation (EU) 2015/1502, by the names that the eIDAS attribute profile gives its levels
    "http://eidas.europa.eu/LoA/low=1",
    "http://eidas.europa.eu/LoA/substantial=2",
    "http://eidas.europa.eu/LoA/high=3",
)
LANGUAGES = ("en", "ru", "ar", "zh")  # those that hub/web/locales has every text in


class Settings(BaseSettings):
    """How one hub runs. Frozen; made once by `load`, handed down by `hub/app.py`, never looked up from the side."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", validate_default=True)

    # -- who and where
    mode: Literal["production", "development", "demo"] = Field(
        "production", description="Unsafe settings are refused in production; the default, so that silence is safe."
    )
    data_dir: Path = Field(Path("var/hub"), description="Holds store, socket and keys; one process per directory.")
    only: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Parts that this process runs, comma-separated, of web, gate, handout, webhooks, files, retention."
        " Unset: all.",
    )
    host: str = Field("127.0.0.1", description="Address to listen on; loopback until a TLS proxy stands in front.")
    port: int = Field(8000, ge=0, le=65535, description="TCP port; 0 takes a free one, which tests do.")
    behind_tls_proxy: bool = Field(
        False, description="Says that a proxy ends TLS in front; without it production stays on loopback."
    )
    issuer: str = Field(
        "http://127.0.0.1:8000",
        description="This hub's own URL: `iss` of its tokens and the one `aud` an agency's assertion may name.",
    )
    key_file: Path | None = Field(
        None,
        description="Wraps the persons' keys. Unset: `<data_dir>/hub.key`, made at first start; not in production.",
    )
    admin_socket: Path | None = Field(
        None, description="Operator commands come in here, mode 0600. Unset: `<data_dir>/admin.sock`."
    )
    operations_port: int | None = Field(
        None, ge=0, le=65535, description="Health, readiness and metrics on a TCP port of their own. Unset: none."
    )
    shared_dir: Path | None = Field(
        None, description="The stop flag, where several processes make one hub: all must see it. Unset: `data_dir`."
    )
    marks_dir: Path | None = Field(
        None,
        description="Holds what a restored store would have forgotten, on another volume. Unset: beside the key.",
    )
    timezone: str = Field("UTC", description="Legal time zone: ages and days are counted in it. An IANA name.")
    jurisdiction: str = Field(
        "EU",
        pattern=r"^[A-Z]{2}$",
        description="Whose law consent records name, and where recipients store: ISO 3166-1 alpha-2, or EU.",
    )
    data_authority: str = Field(
        "Data Protection Authority",
        min_length=1,
        max_length=200,
        description="The supervisory authority's name, as consent records give it (GDPR article 13).",
    )
    data_authority_contact: str = Field(
        "complaints@data-protection.example, 1 Assembly Square, 10000 Capital",
        min_length=1,
        max_length=200,
        description="How a person complains to it: contact and postal address. The default is an invented one.",
    )
    languages: Annotated[tuple[str, ...], NoDecode] = Field(
        LANGUAGES, description="Offered to citizens, first is the fallback; comma-separated, of en, ru, ar, zh."
    )

    # -- engines
    store_dsn: str = Field(
        "",
        repr=False,
        description="Unset: SQLite at `<data_dir>/hub.sqlite`. Else `sqlite:///PATH`, or `postgresql://USER@HOST/NAME`.",
    )
    store_password_file: Path | None = Field(
        None, description="Holds the password of the PostgreSQL user that the hub runs as; better than one in the DSN."
    )
    store_owner_dsn: str = Field(
        "", repr=False, description="Who owns PostgreSQL's schema: migrates it at a start. Unset: `hub migrate` does."
    )
    store_connections_max: PositiveInt = Field(
        24,
        description="Most PostgreSQL connections of a process, for reading and for writing each.",
    )
    store_idle_ms: PositiveInt = Field(
        500,
        description="A transaction that stops between two statements is ended by PostgreSQL after this: a stalled"
        " worker loses, not the citizen.",
    )
    lease_s: PositiveInt = Field(
        10,
        ge=2,
        description="What one process alone may do passes to another when it was silent for this long.",
    )
    store_partition_days: Annotated[int, Field(ge=1, le=366)] = Field(
        91,
        description="Days of audit rows and deliveries in one partition of PostgreSQL. Fewer where a quarter is too"
        " large to move; each partition costs a hand-out some 50 us.",
    )
    clock_off_max_s: PositiveInt = Field(
        30,
        description="Most that this machine's clock may differ from the store's, or lie before the last audit row; then"
        " nothing is released. More than 300 is refused in production.",
    )
    synchronous: Literal["FULL", "EXTRA", "NORMAL", "OFF"] = Field(
        "FULL", description="SQLite's durability. Below FULL a power cut loses what was acknowledged."
    )
    bus: Literal["embedded", "kafka"] = Field(
        "embedded", description="Durable intake: `embedded` in the same database, or on `kafka`, which hubs share."
    )
    policy: Literal["embedded", "server"] = Field(
        "embedded", description="Rego compiled to WASM, run in this process; or `server`: OPA decides."
    )
    wal_restart_bytes: PositiveInt = Field(
        256 * 1024 * 1024, description="SQLite's write-ahead log starts over beyond this, which may block writers."
    )

    # -- Kafka, where it is the bus
    kafka_bootstrap: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Brokers to begin with, `host:port`, comma-separated; they name the others."
    )
    kafka_security: Literal["PLAINTEXT", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "SASL_SSL", description="How brokers are spoken to. Production refuses all but `SASL_SSL` beyond loopback."
    )
    kafka_mechanism: Literal["SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="How the hub's accounts sign in: a password never travels."
    )
    kafka_ca_file: Path | None = Field(
        None, description="PEM file of the authority that vouches for the brokers. Unset: the system's own."
    )
    kafka_username: str = Field("", description="The account that reads; it publishes too where no other does.")
    kafka_password_file: Path | None = Field(None, description="Holds that account's password, mode 0600.")
    kafka_publish_username: str = Field("", description="The account that publishes. Unset: the gate's.")
    kafka_publish_password_file: Path | None = Field(None, description="Holds that account's password, mode 0600.")
    kafka_admin_username: str = Field(
        "", description="The account of `hub topics`, which makes topics and ACLs. Unset: the gate's."
    )
    kafka_admin_password_file: Path | None = Field(
        None, description="Holds that account's password, mode 0600; the hub itself never reads it."
    )
    kafka_topic_prefix: str = Field(
        "",
        pattern=r"^[a-z0-9.-]{0,40}$",
        description="Stands before the names of topics and group, where several hubs share a cluster, as in `test.`.",
    )
    kafka_partitions: PositiveInt = Field(
        6, le=200, description="Partitions of a topic: most gates that share its work. To change it later breaks order."
    )
    kafka_replication: PositiveInt = Field(3, le=9, description="Brokers that hold each record: two may fail.")
    kafka_min_insync: PositiveInt = Field(
        2, le=9, description="Brokers that have a record before it is acknowledged: one may fail for good."
    )
    kafka_publish_s: PositiveInt = Field(
        5, le=30, description="Publish answers 503 after this when the cluster does not confirm."
    )

    # -- policy server, where `policy` is `server`
    opa_url: str = Field(
        "http://127.0.0.1:8181", description="Where OPA answers; in production https, or this machine itself."
    )
    opa_token_file: Path | None = Field(
        None, description="What the hub shows to OPA. Unset: none, for an OPA that only this machine reaches."
    )
    opa_ca_file: Path | None = Field(
        None, description="PEM file of authorities trusted for OPA. Unset: the public ones."
    )
    opa_timeout_s: float = Field(
        2.0, gt=0, le=30, description="Longest wait for a connection, and again for an answer; then events wait."
    )
    opa_bundle_token_file: Path | None = Field(
        None, description="Who shows the token in it may fetch `/opa/bundle.tar.gz`. Unset: absent on the port."
    )

    # -- gate and hand-out
    gate_batch_events: PositiveInt = Field(
        200,
        le=500,
        description="Events per decision transaction: enough to share its fsync, short enough for a withdrawal.",
    )
    handout_page: PositiveInt = Field(500, le=5_000, description="Most deliveries per hand-out transaction and answer.")
    handout_redeliver_s: PositiveInt = Field(
        60, description="Unacknowledged deliveries come again after this, decided again, same id and number."
    )
    handout_outstanding: PositiveInt = Field(
        20_000, description="Most unacknowledged deliveries per agency: what an agency's crash can leave in doubt."
    )
    long_poll_max_s: PositiveInt = Field(30, description="Longest wait for deliveries; proxies cut at 60 s.")
    long_polls_max: PositiveInt = Field(64, description="Waiting requests at once; more are answered empty at once.")
    dead_letter_alarm_hours: PositiveInt = Field(
        4, description="A dead letter older than this is an alarm: a person's later events wait behind it."
    )
    waiting_days: PositiveInt = Field(
        30, description="How long an event waits for its person to be linked before it expires, listed all the while."
    )

    backfill_days: PositiveInt = Field(
        30, description="How long a backfill stays open at most: what happens meanwhile may stand behind it."
    )

    # -- webhooks
    webhook_private_networks: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Networks that webhooks may reach although not public; comma-separated, as in 10.20.0.0/16."
    )
    webhook_connections_max: PositiveInt = Field(4, le=32, description="Connections to one agency's webhook at once.")
    webhook_shards: PositiveInt = Field(
        1,
        le=64,
        description="Senders that share one agency's webhook, each with persons of its own; the same in every process.",
    )
    webhook_connect_s: PositiveInt = Field(5, le=60, description="Longest wait for a webhook's connection and TLS.")
    webhook_answer_s: PositiveInt = Field(20, le=60, description="Longest wait for a webhook's answer, all of it.")
    webhook_ca_file: Path | None = Field(None, description="PEM file of authorities trusted for webhooks as well.")

    # -- publish
    publish_batch_max: PositiveInt = Field(
        500, description="Events per request: a resend after a cut line stays small."
    )
    publish_event_bytes: PositiveInt = Field(65_536, description="Largest event; CloudEvents asks for 64 KiB at least.")
    publish_body_bytes: PositiveInt = Field(16 * 1024 * 1024, description="Largest request body, whatever it holds.")
    event_max_age_days: PositiveInt = Field(
        43_830, description="An older `time` is a mistake: registers are loaded with facts as old as a life, 120 years."
    )
    event_max_future_s: PositiveInt = Field(300, description="How far a publisher's clock may run ahead.")
    intake_retention_days: PositiveInt = Field(
        7, description="The day key of sealed intake is destroyed after this. More than 7 is refused in production."
    )
    delivered_days: PositiveInt = Field(90, description="Payloads off the queue are overwritten after this; ids stay.")

    # -- file drop
    file_drop_dir: Path | None = Field(
        None, description="A directory per agency lies in it, laid out for SFTP. Unset: no file drop."
    )
    file_every_s: int = Field(
        60, ge=0, description="Pause between two batches of an agency: small files are many; a full one goes at once."
    )
    file_batch_max: PositiveInt = Field(
        5_000, le=20_000, description="Most deliveries per batch of files: what is written within a second or so."
    )
    file_redeliver_hours: PositiveInt = Field(
        24, description="Files not acknowledged by then are removed; what was in them is decided again and comes again."
    )
    file_keep_days: PositiveInt = Field(
        7, le=30, description="Acknowledged files, and files that were taken in, are removed after this."
    )
    file_outstanding: PositiveInt = Field(
        200_000, description="Most unacknowledged deliveries of an agency with file drop: a day's, read at night."
    )
    file_in_bytes: PositiveInt = Field(
        256 * 1024 * 1024, description="Largest file that an agency may put there to be published."
    )

    # -- quotas, per agency, counted before anything is written
    quota_requests_per_s: PositiveInt = Field(200, description="Sustained requests; withdrawals have their own lane.")
    quota_requests_burst: PositiveInt = Field(400, description="Requests at once after silence.")
    quota_events_per_s: PositiveInt = Field(
        5_000, description="Sustained events: below what one gate decides, so that one agency cannot fill the bus."
    )
    quota_events_burst: PositiveInt = Field(20_000, description="Events at once after silence: a nightly file.")

    # -- people
    session_hours: PositiveInt = Field(8, description="A citizen's session ends after this, used or not.")
    dev_sign_in: bool = Field(False, description="Sign in as any demo person without proof. Refused in production.")

    # -- how citizens sign in: OpenID Connect, at any provider
    sign_in_issuer: str = Field(
        "", description="The provider's own URL, exactly as its tokens say `iss`; https. Unset: no citizen signs in."
    )
    sign_in_client_id: str = Field("", description="What the provider calls this hub.")
    sign_in_secret_file: Path | None = Field(
        None, description="Holds the secret that the hub shows to the provider, mode 0600."
    )
    sign_in_key_file: Path | None = Field(
        None,
        description="Instead of a secret: a private key that the hub signs with (`private_key_jwt`); JWK or PEM, 0600.",
    )
    sign_in_ca_file: Path | None = Field(
        None, description="PEM file of authorities trusted for the provider. Unset: the public ones."
    )
    sign_in_scope: str = Field(
        "openid",
        pattern=r"^openid( [!#-\[\]-~]+)*$",
        description="Scopes to ask for; the claim below may need its own.",
    )
    sign_in_claim: str = Field(
        "sub", min_length=1, description="The verified claim that holds a person's id at the agency below."
    )
    sign_in_agency: str = Field(
        "population-register", min_length=1, description="Whose ids that claim holds: its links say who signs in."
    )
    sign_in_acr: Annotated[tuple[str, ...], NoDecode] = Field(
        EIDAS,
        description="Which `acr` is worth which assurance, `VALUE=1` to `VALUE=3`; eIDAS' own. Any other is worth 0.",
    )
    sign_in_least_level: int = Field(
        1, ge=0, le=3, description="Below this assurance nobody is let in; a purpose may want more, and then says so."
    )
    dev_provider_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="A provider of invented people on this port of loopback. Refused in production.",
    )

    delete_due_days: PositiveInt = Field(
        30, le=31, description="Recipients confirm a deletion within this: GDPR 12(3) leaves a month."
    )

    # -- for developers
    failpoints: str = Field(
        "",
        pattern=r"^$|^[a-z_.]+=(kill|stop)(:[1-9][0-9]*)?(,[a-z_.]+=(kill|stop)(:[1-9][0-9]*)?)*$",
        description="Crash points to arm, `name=kill:COUNT` or `name=stop:COUNT`. Refused in production.",
    )

    # -- logs and metrics
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is worth a line.")
    log_format: Literal["json", "console"] = Field("json", description="One JSON object a line, or words for people.")
    metrics_token_file: Path | None = Field(
        None,
        description="Who shows the token in it may read `/metrics` on the port. Unset: absent there in production.",
    )

    otlp_endpoint: str = Field(
        "", description="Traces go to this OTLP/HTTP collector, as http://127.0.0.1:4318/v1/traces. Unset: no traces."
    )

    @field_validator("otlp_endpoint")
    @classmethod
    def _collector(cls, given: str) -> str:
        url = urlsplit(given)
        if given and (url.scheme not in ("http", "https") or not url.hostname or url.username or url.password):
            raise ValueError(
                "must be an http(s) URL without a name to sign in with; OpenTelemetry's variables hold that"
            )
        return given

    @field_validator("webhook_private_networks")
    @classmethod
    def _networks(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(ipaddress.ip_network(each)) for each in given)

    @field_validator("languages", "webhook_private_networks", "kafka_bootstrap", "only", "sign_in_acr", mode="before")
    @classmethod
    def _split(cls, given: object) -> object:
        return tuple(part.strip() for part in given.split(",") if part) if isinstance(given, str) else given

    @field_validator("kafka_bootstrap")
    @classmethod
    def _brokers(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        if not all(re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\s:/@]+):[1-9][0-9]{0,4}", each) for each in given):
            raise ValueError("must be host:port, comma-separated")
        return given

    @field_validator("sign_in_acr")
    @classmethod
    def _levels(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        names = [each.rpartition("=")[0] for each in given]
        if not all(re.fullmatch(r"[!-~]+=[0-3]", each) for each in given) or len(set(names)) != len(names):
            raise ValueError("must be VALUE=LEVEL with a level of 0 to 3, each value once, comma-separated")
        return given

    @field_validator("only")
    @classmethod
    def _parts(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        if not set(given) <= set(Part) or len(set(given)) != len(given):
            raise ValueError(f"name each at most once, of {', '.join(Part)}")
        return given

    @field_validator("languages")
    @classmethod
    def _known(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        if not given or not set(given) <= set(LANGUAGES) or len(set(given)) != len(given):
            raise ValueError(f"name each at most once, of {', '.join(LANGUAGES)}")
        return given

    @field_validator("timezone")
    @classmethod
    def _zone(cls, given: str) -> str:
        try:
            ZoneInfo(given)
        except (OSError, ValueError, KeyError) as cause:  # a folder's name, a path, a name that is not there
            raise ValueError("must be an IANA time zone, as in Europe/Berlin") from cause
        return given

    @field_validator("sign_in_issuer")
    @classmethod
    def _provider(cls, given: str) -> str:
        """OpenID Connect Discovery 1.0 section 3: no query, no fragment; a slash at the end is part of the name."""
        url = urlsplit(given)
        reachable = url.scheme == "https" or (url.scheme == "http" and _is_loopback(url.hostname or ""))
        if given and (not reachable or not url.hostname or url.query or url.fragment or url.username or url.password):
            raise ValueError("must be an https URL without query or fragment; http on loopback only")
        return given

    @field_validator("issuer")
    @classmethod
    def _bare_url(cls, given: str) -> str:
        """RFC 8414 section 2: a URL without query or fragment. Compared as one string, so no slash at its end."""
        url = urlsplit(given)
        if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment or given.endswith("/"):
            raise ValueError("must be an http(s) URL without query, fragment or a slash at its end")
        return given

    @field_validator("opa_url")
    @classmethod
    def _address(cls, given: str) -> str:
        url = urlsplit(given)
        bare = url.path in ("", "/") and not (url.query or url.fragment or url.username or url.password)
        if url.scheme not in ("http", "https") or not url.hostname or not bare or url.port == 0:
            raise ValueError("must be http(s)://HOST:PORT, without a path or a name to sign in with")
        return given

    @field_validator("store_dsn")
    @classmethod
    def _store(cls, given: str) -> str:
        if given and not given.startswith(("sqlite:///", POSTGRES)):
            raise ValueError("must be sqlite:///PATH or postgresql://USER@HOST:PORT/NAME")
        return given

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.bus == "kafka" and not self.kafka_bootstrap:
            raise ValueError("HUB_BUS=kafka needs HUB_KAFKA_BOOTSTRAP, as in kafka-1.example:9093,kafka-2.example:9093")
        if self.kafka_min_insync > self.kafka_replication:
            raise ValueError("HUB_KAFKA_MIN_INSYNC must not be more than HUB_KAFKA_REPLICATION")
        return self

    @model_validator(mode="after")
    def _shared(self) -> Self:
        """Parts in processes of their own meet in a database and on a bus that several can use."""
        if self.only and not self.on_postgres:
            raise ValueError("HUB_ONLY needs PostgreSQL in HUB_STORE_DSN: one process alone can use a SQLite file")
        if self.only and self.bus == "embedded" and (on_it := self.parts & ON_THE_BUS):
            raise ValueError(f"HUB_ONLY={shown(on_it)} needs HUB_BUS=kafka: the embedded bus is within one process")
        return self

    @model_validator(mode="after")
    def _known_to_its_provider(self) -> Self:
        if self.sign_in_issuer and not self.sign_in_client_id:
            raise ValueError("HUB_SIGN_IN_ISSUER needs HUB_SIGN_IN_CLIENT_ID: the provider has to know who asks")
        if self.sign_in_issuer and bool(self.sign_in_secret_file) == bool(self.sign_in_key_file):
            raise ValueError("HUB_SIGN_IN_ISSUER needs one of HUB_SIGN_IN_SECRET_FILE and HUB_SIGN_IN_KEY_FILE")
        return self

    @property
    def parts(self) -> frozenset[Part]:
        """What this process runs."""
        return frozenset(map(Part, self.only)) or ALL

    @property
    def on_postgres(self) -> bool:
        return self.store_dsn.startswith(POSTGRES)

    def store_password(self) -> str:
        """Read the file that holds it; "" where none is named. Raises HubError(STARTUP)."""
        if self.store_password_file is None:
            return ""
        try:
            return self.store_password_file.read_text(encoding="utf-8").strip()
        except OSError as cause:
            raise HubError(
                Kind.STARTUP,
                "the store's password file cannot be read",
                where="store_password_file",
                remedy="Correct HUB_STORE_PASSWORD_FILE, or the file's owner and mode.",
                code="settings",
            ) from cause

    @property
    def store_path(self) -> Path:
        """Where SQLite's file is, or would be."""
        if self.store_dsn and not self.on_postgres:
            return Path(self.store_dsn.removeprefix("sqlite:///"))
        return self.data_dir / "hub.sqlite"

    @property
    def assurance_of(self) -> dict[str, int]:
        """What each `acr` is worth, 0 to 3."""
        return {value: int(level) for value, _, level in (each.rpartition("=") for each in self.sign_in_acr)}

    @property
    def key_path(self) -> Path:
        return self.key_file or self.data_dir / "hub.key"

    @property
    def marks_base(self) -> Path:
        """What the names of the marks' files begin with."""
        return self.marks_dir / "hub" if self.marks_dir else self.key_path

    @property
    def admin_path(self) -> Path:
        return self.admin_socket or self.data_dir / "admin.sock"

    @property
    def flag_dir(self) -> Path:
        return self.shared_dir or self.data_dir

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - left out on purpose, see below
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - left out as well
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then variables, then the file. No .env: a file found by chance must not steer a hub."""
        named = os.environ.get(FILE_VARIABLE, "hub.toml")
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=named)


def load(environ: Mapping[str, str] = os.environ, **given: Any) -> Settings:
    """Read the settings; `given` goes before the variables. `environ` is looked at for misspelt names only.

    Raises HubError(STARTUP) listing everything that is wrong. Values are not repeated: one of them may be a secret.
    """
    items = [*_misspelt(environ), *_missing_file(environ)]
    try:
        settings = Settings(**given)
    except tomllib.TOMLDecodeError as cause:
        raise _refusal((*items, Item(f"not TOML: {cause}", "settings file", "Correct the line it names."))) from cause
    except ValidationError as cause:
        items += [_item(error["loc"], error["msg"]) for error in cause.errors(include_input=False, include_url=False)]
        raise _refusal(tuple(items)) from cause
    if items:
        raise _refusal(tuple(items))
    return settings


def checked(settings: Settings) -> Settings:
    """Return the settings, or raise HubError(STARTUP) with every reason why they are unsafe in production."""
    items = refuse_unsafe(settings)
    if items:
        raise _refusal(items, what="refusing to start: unsafe in production")
    return settings


def refuse_unsafe(settings: Settings) -> tuple[Item, ...]:
    """List what is unsafe in production; empty in any other mode. Looks at the key file and at data_dir."""
    if settings.mode != "production":
        return ()
    return tuple(item for rule in RULES if (item := rule(settings)) is not None)


def _no_dev_sign_in(settings: Settings) -> Item | None:
    if not settings.dev_sign_in:
        return None
    return Item("anybody could sign in as anybody", "dev_sign_in", "Unset HUB_DEV_SIGN_IN.")


def _no_dev_provider(settings: Settings) -> Item | None:
    if settings.dev_provider_port is None:
        return None
    return Item("anybody could sign in with a password that everybody knows", "dev_provider_port", "Unset it.")


def _real_provider(settings: Settings) -> Item | None:
    url = urlsplit(settings.sign_in_issuer)
    if not settings.sign_in_issuer or (url.scheme == "https" and not _is_loopback(url.hostname or "")):
        return None
    return Item(
        "who signs in would be said by a provider on this machine, or by whoever is on the way to it",
        "sign_in_issuer",
        "Set HUB_SIGN_IN_ISSUER to the provider's public https:// address.",
    )


def _private_sign_in_secret(settings: Settings) -> Item | None:
    for name in ("sign_in_secret_file", "sign_in_key_file"):
        path: Path | None = getattr(settings, name)
        if path is not None and not _is_private(path):
            return Item(
                "what the hub shows to the provider is not there, or other users of this machine may read it",
                name,
                f"Run chmod 600 on it, or correct {PREFIX}{name.upper()}.",
            )
    return None


def _no_failpoints(settings: Settings) -> Item | None:
    if not settings.failpoints:
        return None
    return Item("failpoints would kill the hub on purpose", "failpoints", "Unset HUB_FAILPOINTS.")


def _public_issuer(settings: Settings) -> Item | None:
    url = urlsplit(settings.issuer)
    if url.scheme == "https" and not _is_loopback(url.hostname or ""):
        return None
    return Item(
        "tokens would name an issuer that agencies cannot reach safely",
        "issuer",
        "Set HUB_ISSUER to this hub's public https:// address.",
    )


def _named_key_file(settings: Settings) -> Item | None:
    if settings.key_file is not None:
        return None
    return Item(
        "the key that wraps all others would lie beside the data",
        "key_file",
        "Set HUB_KEY_FILE to a file on another volume; `hub keys new FILE` makes one.",
    )


def _present_key_file(settings: Settings) -> Item | None:
    if settings.key_file is None or settings.key_file.is_file():
        return None
    return Item(
        "the key file is not there; a new one could read nothing that is stored",
        "key_file",
        "Restore it from its backup, or make the first one with `hub keys new FILE`.",
    )


def _private_key_file(settings: Settings) -> Item | None:
    if settings.key_file is None or not settings.key_file.is_file():
        return None
    if _is_private(settings.key_file):
        return None
    return Item("other users of this machine may read or replace the key file", "key_file", "Run chmod 600 on it.")


def _key_file_apart(settings: Settings) -> Item | None:
    if settings.key_file is None or not settings.key_file.resolve().is_relative_to(settings.data_dir.resolve()):
        return None
    return Item(
        "whoever takes or backs up the data would have the key that opens it",
        "key_file",
        "Move it out of HUB_DATA_DIR, best to another volume, and name its new place in HUB_KEY_FILE.",
    )


def _private_metrics_token(settings: Settings) -> Item | None:
    return _private_token(
        settings.metrics_token_file, "metrics_token_file", "the token that shows all agencies' volumes"
    )


def _private_opa_token(settings: Settings) -> Item | None:
    return _private_token(settings.opa_token_file, "opa_token_file", "the token that lets a hub ask OPA")


def _private_bundle_token(settings: Settings) -> Item | None:
    return _private_token(
        settings.opa_bundle_token_file, "opa_bundle_token_file", "the token that shows all agreements"
    )


def _private_token(path: Path | None, setting: str, what: str) -> Item | None:
    if path is None or _is_private(path):
        return None
    return Item(
        f"{what} is not there, or other users of this machine may read it",
        setting,
        f"Make it as deploy/README.md says and run chmod 600 on it, or unset {PREFIX}{setting.upper()}.",
    )


def _opa_over_tls(settings: Settings) -> Item | None:
    url = urlsplit(settings.opa_url)
    if settings.policy != "server" or url.scheme == "https" or _is_loopback(url.hostname or ""):
        return None
    return Item(
        "whoever is on the way to OPA could say what is permitted",
        "opa_url",
        "Set HUB_OPA_URL to an https:// address, or to OPA on this machine.",
    )


def _present_shared_dir(settings: Settings) -> Item | None:
    path = settings.shared_dir
    if path is None or (path.is_dir() and path.stat().st_mode & 0o002 == 0):
        return None
    return Item(
        "the directory of the stop flag is not there, or everybody may write into it: a stop would not be sure",
        "shared_dir",
        "Mount it, the same for every process of this hub, and run chmod o-w on it.",
    )


def _marks_apart(settings: Settings) -> Item | None:
    path = settings.marks_dir
    if path is None or (path.is_dir() and not path.resolve().is_relative_to(settings.data_dir.resolve())):
        return None
    return Item(
        "the folder of the marks is not there, or lies in the data directory and would be restored with it",
        "marks_dir",
        "Mount it on another volume, the same for every process of this hub, or unset HUB_MARKS_DIR.",
    )


def _private_file_drop(settings: Settings) -> Item | None:
    path = settings.file_drop_dir
    if path is None or (path.is_dir() and path.stat().st_mode & 0o007 == 0):
        return None
    return Item(
        "the directory of files that hold people's data is not there, or open to every user of this machine",
        "file_drop_dir",
        "Make it as deploy/README.md says and run chmod o= on it, or unset HUB_FILE_DROP_DIR.",
    )


def _private_store_password(settings: Settings) -> Item | None:
    path = settings.store_password_file
    if path is None or _is_private(path):
        return None
    return Item(
        "the store's password is not there, or other users of this machine may read it",
        "store_password_file",
        "Run chmod 600 on it, or correct HUB_STORE_PASSWORD_FILE.",
    )


def _store_over_tls(settings: Settings) -> Item | None:
    if not settings.on_postgres:
        return None
    url = urlsplit(settings.store_dsn)
    if _is_loopback(url.hostname or "localhost") or "sslmode=verify-full" in url.query.split("&"):
        return None
    return Item(
        "sealed data and who it is about would go to whoever answers in the database's place",
        "store_dsn",
        "Add ?sslmode=verify-full (and sslrootcert=FILE where the authority is your own) to HUB_STORE_DSN.",
    )


def _durable(settings: Settings) -> Item | None:
    if settings.synchronous in ("FULL", "EXTRA"):
        return None
    return Item("a power cut would lose what was acknowledged", "synchronous", "Set HUB_SYNCHRONOUS=FULL, or unset it.")


def _kept_clock(settings: Settings) -> Item | None:
    if settings.clock_off_max_s <= CLOCK_OFF_MOST_S:
        return None
    return Item(
        "ends of consents and deadlines would be decided by a clock that nobody keeps",
        "clock_off_max_s",
        f"Set HUB_CLOCK_OFF_MAX_S to {CLOCK_OFF_MOST_S} or less, or unset it.",
    )


def _short_retention(settings: Settings) -> Item | None:
    if settings.intake_retention_days <= INTAKE_RETENTION_MOST_DAYS:
        return None
    return Item(
        "an erased person's intake would stay readable for more than a week",
        "intake_retention_days",
        f"Set HUB_INTAKE_RETENTION_DAYS to {INTAKE_RETENTION_MOST_DAYS} or less.",
    )


def _kafka_shielded(settings: Settings) -> Item | None:
    if settings.bus != "kafka" or settings.kafka_security == "SASL_SSL":
        return None
    if all(_is_loopback(each.rpartition(":")[0].strip("[]")) for each in settings.kafka_bootstrap):
        return None
    return Item(
        "events and the account's proofs would cross the network without TLS",
        "kafka_security",
        "Set HUB_KAFKA_SECURITY=SASL_SSL, or unset it.",
    )


def _kafka_accounts(settings: Settings) -> Item | None:
    if settings.bus != "kafka":
        return None
    if settings.kafka_security == "PLAINTEXT":
        return Item(
            "whoever reaches the brokers could read and write every topic: without accounts there are no ACLs",
            "kafka_security",
            "Set HUB_KAFKA_SECURITY to SASL_SSL (on loopback SASL_PLAINTEXT will do), and name the hub's accounts.",
        )
    files = [settings.kafka_password_file]
    if settings.kafka_publish_username:
        files.append(settings.kafka_publish_password_file)
    if settings.kafka_username and all(path and _is_private(path) for path in files):
        return None
    return Item(
        "an account at the brokers is not named, or its password is not there, or others of this machine may read it",
        "kafka_password_file",
        "Set HUB_KAFKA_USERNAME and HUB_KAFKA_PASSWORD_FILE (and the same of PUBLISH), and run chmod 600 on the files.",
    )


def _no_bare_http(settings: Settings) -> Item | None:
    if settings.behind_tls_proxy or _is_loopback(settings.host):
        return None
    return Item(
        "citizens' data would cross the network without TLS",
        "host",
        "Listen on 127.0.0.1, or put a TLS proxy in front and set HUB_BEHIND_TLS_PROXY=true.",
    )


def _narrow_private_networks(settings: Settings) -> Item | None:
    wide = [each for each in settings.webhook_private_networks if ipaddress.ip_network(each).prefixlen < LEAST_PREFIX]
    if not wide:
        return None
    return Item(
        "any agency could have the hub call machines that only the hub can reach",
        "webhook_private_networks",
        f"Name the networks that receivers stand in, each /{LEAST_PREFIX} or narrower.",
    )


def _no_demo_data(settings: Settings) -> Item | None:
    if not any((settings.data_dir / name).exists() for name in (DEMO_MARK, OFFICERS)):
        return None
    what = "the store holds a demo's or a developer's invented people or officers, whose keys are public"
    return Item(what, "data_dir", "Set HUB_DATA_DIR elsewhere.")


RULES: tuple[Callable[[Settings], Item | None], ...] = (
    _no_dev_sign_in,
    _no_dev_provider,
    _real_provider,
    _private_sign_in_secret,
    _no_failpoints,
    _public_issuer,
    _named_key_file,
    _present_key_file,
    _private_key_file,
    _key_file_apart,
    _private_metrics_token,
    _private_opa_token,
    _private_bundle_token,
    _opa_over_tls,
    _present_shared_dir,
    _marks_apart,
    _private_file_drop,
    _private_store_password,
    _store_over_tls,
    _durable,
    _short_retention,
    _kept_clock,
    _kafka_shielded,
    _kafka_accounts,
    _no_bare_http,
    _narrow_private_networks,
    _no_demo_data,
)


def _is_private(path: Path) -> bool:
    """Say whether the file is there, and only its owner may read or replace it."""
    return path.is_file() and path.stat().st_mode & 0o077 == 0


def _is_loopback(host: str) -> bool:
    """Say whether only this machine reaches `host`. Any name but localhost may resolve to anything, so it is not."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _misspelt(environ: Mapping[str, str]) -> list[Item]:
    known = {PREFIX + name.upper() for name in Settings.model_fields} | NOT_SETTINGS
    strangers = sorted(name for name in environ if name.upper().startswith(PREFIX) and name.upper() not in known)
    return [
        Item("no setting has this name", name, "Correct or unset it; deploy/README.md lists all.") for name in strangers
    ]


def _missing_file(environ: Mapping[str, str]) -> list[Item]:
    named = environ.get(FILE_VARIABLE)
    if named is None or Path(named).is_file():
        return []
    return [Item("the settings file is not there", FILE_VARIABLE, "Correct the path, or unset the variable.")]


def _item(at: tuple[int | str, ...], message: str) -> Item:
    where = ".".join(str(step) for step in at)
    return Item(
        message.removeprefix("Value error, "),
        where,
        f"Correct {PREFIX}{where.upper()} or `{where}` in the settings file; deploy/README.md says what it takes.",
    )


def _refusal(items: tuple[Item, ...], *, what: str = "the settings cannot be used") -> HubError:
    return HubError(
        Kind.STARTUP,
        what,
        where="settings",
        remedy="Correct each of these; deploy/README.md explains every setting.",
        code="settings",
        items=items,
    )
