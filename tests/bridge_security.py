"""A broker with every way to sign in, certificates, and a token endpoint, for the tests of the bridge's connections."""

import base64
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from kafka import KafkaAdminClient
from kafka.admin import ScramMechanism, UserScramCredentialUpsertion

from agency_adapters.clock import system_clock
from deploy.engines import launch
from deploy.engines.process import Engine, free_port
from tests.doors import served
from tests.engines import own

USER, PASSWORD = "bridge", "an invented password"
CLIENT, SECRET = "bridge-client", "an invented secret"
LOGIN = "org.apache.kafka.common.security"


@dataclass
class Pems:
    """A CA, and what it signed: `NAME.key`, `NAME.pem`, and `NAME.both`, in one folder."""

    directory: Path

    def __post_init__(self) -> None:
        self.ca_key = ec.generate_private_key(ec.SECP256R1())
        self.ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
        self.issue("ca", self.ca_key, self.ca_name)
        for name in ("broker", USER):
            self.issue(name, ec.generate_private_key(ec.SECP256R1()), self.named(name))

    def named(self, name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    def issue(self, name: str, key: ec.EllipticCurvePrivateKey, subject: x509.Name) -> None:
        now = datetime.fromtimestamp(system_clock() / 1e6, UTC)
        certificate = (
            x509.CertificateBuilder(self.ca_name, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
            .add_extension(x509.BasicConstraints(ca=name == "ca", path_length=None), critical=True)
            .sign(self.ca_key, hashes.SHA256())
        ).public_bytes(Encoding.PEM)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for ending, content in (("key", private), ("pem", certificate), ("both", private + certificate)):
            path = self.directory / f"{name}.{ending}"
            path.touch(mode=0o600)
            path.write_bytes(content)


@dataclass
class Guarded:
    """The broker: `open` for its administrator, the other addresses for whoever signs in as its name says."""

    engine: Engine
    pems: Pems
    ports: Mapping[str, int]

    def address(self, listener: str) -> str:
        return f"127.0.0.1:{self.ports[listener]}"

    @contextmanager
    def admin(self) -> Iterator[KafkaAdminClient]:
        with KafkaAdminClient(bootstrap_servers=self.engine.address) as admin:
            yield admin


@contextmanager
def guarded(directory: Path) -> Iterator[Guarded]:
    """Start the broker; whoever signs in by a certificate or a token may all, the SCRAM account nothing."""
    pems = Pems(directory)
    ports = {name: free_port() for name in ("scram", "mtls", "oauth")}
    scram = "listener.name.scram.scram-sha"
    more = {
        "listeners": ",".join(f"{name.upper()}://127.0.0.1:{port}" for name, port in ports.items()),
        "advertised.listeners": ",".join(f"{name.upper()}://127.0.0.1:{port}" for name, port in ports.items()),
        "listener.security.protocol.map": "SCRAM:SASL_SSL,MTLS:SSL,OAUTH:SASL_SSL",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(directory / "broker.both"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(directory / "ca.pem"),
        "listener.name.mtls.ssl.client.auth": "required",
        "listener.name.scram.sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512",
        f"{scram}-256.sasl.jaas.config": f"{LOGIN}.scram.ScramLoginModule required;",
        f"{scram}-512.sasl.jaas.config": f"{LOGIN}.scram.ScramLoginModule required;",
        "listener.name.oauth.sasl.enabled.mechanisms": "OAUTHBEARER",
        "listener.name.oauth.oauthbearer.sasl.jaas.config": (
            f'{LOGIN}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";'
        ),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:ANONYMOUS;User:CN={USER};User:{CLIENT}",
    }
    with own(lambda place: launch.kafka(place, more=more), directory / "kafka") as engine:
        place = Guarded(engine, pems, ports)
        with place.admin() as admin:
            for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
                admin.alter_user_scram_credentials([UserScramCredentialUpsertion(USER, mechanism, PASSWORD)])
        yield place


@dataclass
class TokenEndpoint:
    """Gives unsecured tokens (RFC 7519 section 6) to whoever shows the secret, or any assertion of the client's."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)

    async def answer(self, request: Request) -> Response:
        form = {name: one[0] for name, one in parse_qs((await request.body()).decode()).items()}
        self.asked.append(form)
        secret = base64.b64encode(f"{CLIENT}:{SECRET.replace(' ', '%20')}".encode()).decode()
        shown = request.headers.get("authorization") == f"Basic {secret}"
        if not shown and form.get("client_id") != CLIENT:
            return JSONResponse({"error": "invalid_client", "error_description": "who is that"}, 401)
        now_s = system_clock() // 1_000_000
        parts = {"alg": "none"}, {"sub": CLIENT, "iat": now_s, "exp": now_s + 300}
        head, claims = (base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in parts)
        return JSONResponse({"access_token": f"{head}.{claims}.", "token_type": "Bearer", "expires_in": 300})


@contextmanager
def token_endpoint() -> Iterator[TokenEndpoint]:
    """Open one on loopback until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        endpoint, app = TokenEndpoint(), FastAPI()
        app.add_api_route("/token", endpoint.answer, methods=["POST"])
        with served(app, listening) as url:
            endpoint.url = f"{url}/token"
            yield endpoint
