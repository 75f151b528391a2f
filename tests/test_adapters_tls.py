"""The client trusts whom it is told to trust, and the doctor sees a certificate's end coming."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from joserfc.jwk import OKPKey

from agency_adapters.channel import Settings
from agency_adapters.client import HubClient
from agency_adapters.clock import system_clock
from agency_adapters.doctor import Finding, examine
from agency_adapters.errors import AgencyError, HubUnreachable
from agency_adapters.keys import new_key, public_jwk
from agency_adapters.retry import Backoff
from tests.adapters_contract_hub import serving

Issue = Callable[[str, int], Path]


@pytest.fixture
def issue(tmp_path: Path) -> Issue:
    """Issue a certificate for loopback that signs itself, good for so many days: its file is its own CA's as well."""

    def issued(name: str, days: int) -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.fromtimestamp(system_clock() / 1e6, UTC)
        certificate = (
            x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=days, hours=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        path = tmp_path / f"{name}.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(private + certificate.public_bytes(Encoding.PEM))
        return path

    return issued


def tls_of(pem: Path, *, ca_file: Path | None) -> Finding:
    """Let the doctor look at a hub that serves with `pem`; return what it says of TLS."""
    with serving(tls=pem) as hub:
        key = new_key()
        hub.keys["lindum"] = OKPKey.import_key(public_jwk(key))
        with HubClient(Settings(hub.issuer, "lindum", ca_file=ca_file), key) as client:
            return next(finding for finding in examine(client) if finding.step == "TLS")


def test_a_private_ca_is_trusted_when_it_is_named(issue: Issue) -> None:
    """With the CA's file the doctor passes and counts the days that are left."""
    pem = issue("hub", 90)
    finding = tls_of(pem, ca_file=pem)
    assert (finding.passed, finding.what) == (True, "the hub's certificate is trusted, for 90 more days")


def test_a_certificate_near_its_end_fails_before_it_ends(issue: Issue) -> None:
    """Less than two weeks are a failure now, rather than an outage then."""
    pem = issue("hub", 9)
    finding = tls_of(pem, ca_file=pem)
    assert (finding.passed, finding.what) == (False, "the hub's certificate is trusted, for 9 more days")
    assert "renew" in finding.remedy


@pytest.mark.parametrize("named", [True, False])
def test_a_certificate_of_another_ca_is_refused(issue: Issue, named: bool) -> None:
    """Neither the public CAs nor a private one vouch for it: nothing is sent, and the remedy is about the CA."""
    finding = tls_of(issue("hub", 90), ca_file=issue("other", 90) if named else None)
    assert not finding.passed
    assert "CA" in finding.remedy


def test_no_token_and_no_event_goes_to_a_hub_that_is_not_trusted(issue: Issue) -> None:
    """The line is refused before anything is said."""
    quick = Backoff(attempts=2, first_s=0.01)
    with (
        serving(tls=issue("hub", 90)) as hub,
        HubClient(Settings(hub.issuer, "lindum", issuer="x", backoff=quick), new_key()) as client,
    ):
        with pytest.raises(HubUnreachable):
            client.request_consent("p", "P")
        assert hub.asked == []
        assert not hub.jtis


def test_a_ca_file_that_is_none_is_told(tmp_path: Path) -> None:
    """A wrong path is not a reason to trust the public CAs instead."""
    with pytest.raises(AgencyError, match="CA file"):
        HubClient(Settings("https://hub.example", "lindum", ca_file=tmp_path / "absent.pem"), new_key())
