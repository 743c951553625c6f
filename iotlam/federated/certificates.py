"""Keys and certificates of a trial on Flower's servers: who the server is, and who each node is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from iotlam.contracts import whole_file

if TYPE_CHECKING:
    from cryptography.x509 import GeneralName

HOSTS = ("127.0.0.1", "localhost")
VALID_DAYS, RENEWED_DAYS = 365, 1


def certify(folder: Path, hosts: Sequence[str] = HOSTS, now: datetime | None = None) -> bool:
    """Write a certificate authority and a server's certificate for some hosts; those that are valid for a day stay.

    Args:
        folder: `ca.crt`, `server.crt` and `server.key` go there; the authority's own key is kept nowhere.
        hosts: names and addresses that the server is reached by.
        now: when they begin to be valid; None for the time that it is.

    Returns:
        Whether they are new; whoever has read the old ones has to read them again.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import NameOID

    reached = [x509.DNSName(host) if not _is_address(host) else x509.IPAddress(ip_address(host)) for host in hosts]
    if _valid([folder / "ca.crt", folder / "server.crt"], reached):
        return False
    now = now or datetime.now(UTC)

    def certificate(name: str, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().subject_name(_named(name)).issuer_name(_named("iotlam trial"))
        builder = builder.public_key(key).serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - timedelta(minutes=5)).not_valid_after(now + timedelta(days=VALID_DAYS))

    def _named(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    authority, server = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1())
    own = certificate("iotlam trial", authority.public_key()).add_extension(x509.BasicConstraints(True, None), True)
    servers = certificate(hosts[0], server.public_key()).add_extension(x509.SubjectAlternativeName(reached), False)
    (folder / "server.crt").unlink(missing_ok=True)
    (folder / "ca.crt").write_bytes(own.sign(authority, hashes.SHA256()).public_bytes(Encoding.PEM))
    _write_secret(
        folder / "server.key", server.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    with whole_file(folder / "server.crt") as partial:  # last: by it the others are known to fit
        partial.write_bytes(servers.sign(authority, hashes.SHA256()).public_bytes(Encoding.PEM))
    return True


def _valid(paths: Sequence[Path], reached: Sequence[GeneralName]) -> bool:
    """Whether certificates are there and valid for a while, the last for all names of the server."""
    from cryptography import x509

    until = datetime.now(UTC) + timedelta(days=RENEWED_DAYS)
    try:
        found = [x509.load_pem_x509_certificate(path.read_bytes()) for path in paths]
        names = found[-1].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return all(one.not_valid_after_utc > until for one in found) and set(reached) <= set(names)
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False


def make_key(path: Path) -> None:
    """Write a node's key pair, as `ssh-keygen -t ecdsa -b 384` does."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key = ec.generate_private_key(ec.SECP384R1())
    path.with_name(f"{path.name}.pub").write_bytes(
        key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n"
    )
    _write_secret(path, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))


def _write_secret(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
