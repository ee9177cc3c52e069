"""Certificates of an authority of one's own, and a door that speaks TLS before a server that does not.

The embedded Postgres and Valkey were built without TLS. What is tested is our side of it: a client cannot tell a door
from a server that speaks TLS itself.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"  # what libpq asks before it says anything else
Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@dataclass(frozen=True)
class Authority:
    """``file`` is its own certificate; ``sign`` makes one for a host, in a file with its key."""

    folder: Path
    name: str
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def make(cls, folder: Path, name: str = "ours") -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        said = _named(subject, subject, key).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        made = cls(folder, name, key, said.sign(key, hashes.SHA256()))
        made.file.write_bytes(made.certificate.public_bytes(serialization.Encoding.PEM))
        return made

    @property
    def file(self) -> Path:
        return self.folder / f"{self.name}.pem"

    def sign(self, host: str) -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
        said = _named(subject, self.certificate.subject, key)
        said = said.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        signed = said.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        form = serialization.PrivateFormat.PKCS8
        secret = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        path = self.folder / f"{host} by {self.name}.pem"
        path.write_bytes(signed + secret)
        return path


def _named(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    begun = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    dated = begun.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    return dated.serial_number(x509.random_serial_number())


@dataclass
class Door:
    """``port`` is where it listens; ``opened`` counts whom it let in, by TLS; ``refused`` those who went away."""

    port: int = 0
    opened: int = 0
    refused: int = 0


@asynccontextmanager
async def door(certificate: Path, connect: Connect, *, postgres: bool = False) -> AsyncIterator[Door]:
    """TLS with ``certificate`` before what ``connect`` reaches; at once, or asked for as Postgres' clients ask."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    found = Door()

    async def enter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if postgres:
                assert await reader.readexactly(len(SSL_REQUEST)) == SSL_REQUEST
                writer.write(b"S")
                await writer.drain()
            await writer.start_tls(context)
        except (OSError, asyncio.IncompleteReadError):
            found.refused += 1
            writer.close()
            return
        found.opened += 1
        inner_reader, inner_writer = await connect()
        await asyncio.gather(_pipe(reader, inner_writer), _pipe(inner_reader, writer))

    server = await asyncio.start_server(enter, "localhost", 0)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
