"""A certificate authority for tests, and Redis servers that speak TLS with its certificates."""

import ipaddress
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.loop import listens
from tests.servers.redis_servers import RunningServer, free_port, until, valkey

TERMINATOR = Path(__file__).with_name("tls_terminator.py")
LOOPBACK = ("localhost", "127.0.0.1")


@dataclass(frozen=True)
class Certificate:
    """PEM files of a certificate and its key."""

    certificate: Path
    key: Path


class CertificateAuthority:
    """Issues certificates; `certificate` is what those who trust it are given."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("authority of a test")
        mine = _builder(self._name, self._name, self._key).add_extension(x509.BasicConstraints(True, None), True)
        usage = dict.fromkeys(("key_cert_sign", "crl_sign"), True)
        others = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
        usage |= dict.fromkeys((*others, "encipher_only", "decipher_only"), False)
        mine = mine.add_extension(x509.KeyUsage(**usage), True)
        self.certificate = _write(folder / "ca.pem", mine.sign(self._key, hashes.SHA256()))

    def issue(self, name: str, hosts: tuple[str, ...] = LOOPBACK) -> Certificate:
        """A certificate for these host names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([_alternative(host) for host in hosts])
        signed = _builder(_name(name), self._name, key).add_extension(names, False).sign(self._key, hashes.SHA256())
        pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        key_file = self._folder / f"{name}.key"
        key_file.write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
        return Certificate(_write(self._folder / f"{name}.pem", signed), key_file)


@dataclass(frozen=True)
class TlsServer:
    """A Redis server whose `port` speaks TLS; `server` is the same one, reached without."""

    port: int
    server: RunningServer


@contextmanager
def tls_in_front_of_valkey(
    folder: Path, authority: CertificateAuthority, own: Certificate, ask_client: bool = False
) -> Iterator[TlsServer]:
    """The wheel's Valkey is built without TLS: a terminator stands before it, as often in production."""
    port = free_port()
    with valkey(folder) as server, (folder / "terminator.log").open("wb") as log:
        files = [str(own.certificate), str(own.key), str(authority.certificate)]
        process = subprocess.Popen(
            [sys.executable, str(TERMINATOR), str(port), str(server.port), *files, "ask" if ask_client else "trust"],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            until(lambda: listens(port))
            yield TlsServer(port, server)
        finally:
            process.kill()
            process.wait(timeout=10)


@contextmanager
def redis_with_tls(
    folder: Path, authority: CertificateAuthority, own: Certificate, ask_client: bool = False
) -> Iterator[TlsServer]:
    """Debian's redis-server, which has TLS of its own; it must be installed."""
    port = free_port()
    options = {
        "--tls-port": port,
        "--tls-cert-file": own.certificate,
        "--tls-key-file": own.key,
        "--tls-ca-cert-file": authority.certificate,
        "--tls-auth-clients": "yes" if ask_client else "no",
    }
    words = [str(word) for option in options.items() for word in option]
    with valkey(folder, *words, program="redis-server") as server:
        yield TlsServer(port, server)


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _alternative(host: str) -> x509.GeneralName:
    with suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(host))
    return x509.DNSName(host)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    valid = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
    return valid.serial_number(x509.random_serial_number())


def _write(path: Path, certificate: x509.Certificate) -> Path:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return path
