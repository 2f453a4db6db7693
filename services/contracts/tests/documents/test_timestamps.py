"""Seals are timestamped by an authority of its own where one is configured (RFC 3161)."""

import io
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import keys, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.timestamps import DummyTimeStamper
from pyhanko.sign.timestamps.common_utils import TimestampRequestError
from services.contracts.tests.conftest import SealFiles, make_deal
from services.contracts.tests.documents.test_contract import TERMS, draft_of
from services.contracts.tests.documents.test_seal import certificate_of

from contracts.documents.printing import Printer
from contracts.documents.seal import SealBroken


@dataclass(frozen=True)
class Authority:
    """A timestamping authority on a port of its own."""

    url: str
    root: Path


def _clock(folder: Path) -> DummyTimeStamper:
    """Signs timestamps with a key of its own; pyHanko's, for tests."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, folder.name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "tsa.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret = key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return DummyTimeStamper(
        asn1_x509.Certificate.load(certificate.public_bytes(serialization.Encoding.DER)),
        keys.PrivateKeyInfo.load(secret),
    )


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    folder = tmp_path_factory.mktemp("tsa")
    clock = _clock(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers["Content-Length"]))
            answer = clock.request_tsa_response(tsp.TimeStampReq.load(asked)).dump()
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Authority(f"http://127.0.0.1:{server.server_port}", folder / "tsa.pem")
        server.shutdown()


def printer_of(seal_files: SealFiles, *timestamps: str) -> Printer:
    return Printer(str(seal_files.store), seal_files.password, str(seal_files.root), *timestamps)


@pytest.fixture(scope="module")
def document(seal_files: SealFiles) -> bytes:
    return printer_of(seal_files).render(draft_of(make_deal()), TERMS)


def stamp_of(sealed: bytes) -> Any:
    """What the authority signed."""
    [seal] = PdfFileReader(io.BytesIO(sealed)).embedded_signatures
    [attribute] = seal.signer_info["unsigned_attrs"]
    [token] = attribute["values"]
    return token["content"]["encap_content_info"]["content"]


def test_a_timestamped_seal_holds_by_the_authority_s_root_and_by_no_other(
    seal_files: SealFiles, authority: Authority, document: bytes
) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    printer = printer_of(seal_files, str(authority.root), authority.url)
    sealed = printer.seal(document, certificate_of(document))
    assert before <= stamp_of(sealed).parsed["gen_time"].native <= datetime.now(UTC)
    # It is recognised after timestamps were turned off, as long as their authority is known.
    assert printer_of(seal_files, str(authority.root)).check(sealed) == printer.check(sealed)
    for other in ((), (str(seal_files.root),)):
        with pytest.raises(SealBroken, match="does not hold"):
            printer_of(seal_files, *other).check(sealed)
    with pytest.raises(SealBroken):
        printer.check(sealed + b"\n")


def test_a_changed_timestamp_is_found(
    seal_files: SealFiles, authority: Authority, document: bytes
) -> None:
    printer = printer_of(seal_files, str(authority.root), authority.url)
    sealed = printer.seal(document, certificate_of(document))
    stamp = stamp_of(sealed).contents
    place = sealed.index(stamp.hex().upper().encode()) + len(stamp)
    changed = bytearray(sealed)
    changed[place] = ord("0") if changed[place] != ord("0") else ord("1")
    with pytest.raises(SealBroken):
        printer.check(bytes(changed))


def test_nothing_is_sealed_while_the_authority_does_not_answer_or_is_a_stranger(
    seal_files: SealFiles, authority: Authority, document: bytes, tmp_path: Path
) -> None:
    silent = printer_of(seal_files, str(authority.root), "http://127.0.0.1:1")
    with pytest.raises(TimestampRequestError):
        silent.seal(document, certificate_of(document))
    _clock(tmp_path)
    stranger = printer_of(seal_files, str(tmp_path / "tsa.pem"), authority.url)
    with pytest.raises(SealBroken, match="does not hold"):
        stranger.seal(document, certificate_of(document))


def test_documents_without_a_timestamp_hold_where_timestamps_are_known(
    seal_files: SealFiles, authority: Authority, document: bytes
) -> None:
    sealed = printer_of(seal_files).seal(document, certificate_of(document))
    assert printer_of(seal_files, str(authority.root)).check(sealed)["contract_id"]
