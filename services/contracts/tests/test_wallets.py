"""A wallet's signature is kept beside its owner's, and no other one."""

import subprocess
import sys
from typing import Any
from uuid import uuid4

import httpx
import pytest
from services.contracts.tests.conftest import Office, make_deal, told

from contracts import repository
from contracts.documents.press import Press
from contracts.documents.storage import Storage
from contracts.models import Contract
from contracts.wallets import _ORDER, recursion_limit_kept, typed_data
from shared.testing.tokens import TestIssuer

with recursion_limit_kept():
    from eth_account import Account
    from eth_account.messages import encode_typed_data

WALLET = Account.from_key("0x" + "11" * 32)
STRANGER = Account.from_key("0x" + "22" * 32)


def test_a_signature_that_is_checked_leaves_the_recursion_limit_as_it_was() -> None:
    """A process of its own, for whatever has loaded the library before."""
    check = """
import asyncio, sys
from contracts.errors import WalletSignatureInvalid
from contracts.wallets import recover
try:
    asyncio.run(recover("00" * 32, "0x" + "11" * 64 + "1b"))
except WalletSignatureInvalid:
    pass
assert "py_ecc" in sys.modules
print(sys.getrecursionlimit())
"""
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "1000\n"


def signed_by(account: Any, sha256: str, **domain: object) -> str:
    data = typed_data(sha256)
    data["domain"] |= domain
    signature = account.sign_message(encode_typed_data(full_message=data)).signature
    return "0x" + bytes(signature).hex()


def high_s(signature: str) -> str:
    """The other signature that the same key could have made."""
    r, s, v = signature[2:66], int(signature[66:130], 16), int(signature[130:], 16)
    return f"0x{r}{_ORDER - s:064x}{55 - v:02x}"


@pytest.fixture
async def contract(office: Office) -> Contract:
    """Its buyer has linked a wallet."""
    deal = make_deal()
    contract = await office.draw_up(deal)
    async with office.database.sessions.begin() as session:
        known = told(deal.buyer, version=2, wallet_address=WALLET.address)
        await repository.keep_user(session, known)
    return contract


async def sign(
    http: httpx.AsyncClient, issuer: TestIssuer, contract: Contract, wallet_signature: str | None
) -> httpx.Response:
    return await http.post(
        f"/v1/contracts/{contract.id}/sign",
        json={
            "document_sha256": contract.sha256,
            "consent": True,
            "wallet_signature": wallet_signature,
        },
        headers={**issuer.authorization(contract.buyer_id), "Idempotency-Key": str(uuid4())},
    )


async def test_a_wallet_signs_the_hash_beside_its_owner_and_the_sealed_document_tells(
    http: httpx.AsyncClient,
    issuer: TestIssuer,
    contract: Contract,
    office: Office,
    storage: Storage,
    press: Press,
) -> None:
    me = issuer.authorization(contract.buyer_id)
    document = (await http.get(f"/v1/contracts/{contract.id}/document", headers=me)).json()
    assert document["typed_data"] == typed_data(str(contract.sha256))
    assert document["typed_data"]["domain"]["chainId"] == 8453
    signature = signed_by(WALLET, str(contract.sha256))
    signed = await sign(http, issuer, contract, signature)
    assert signed.status_code == 200, signed.text
    assert signed.json()["signatures"][0]["wallet_address"] == WALLET.address.lower()
    await office.sign(contract, contract.seller_id)
    await office.begin_execution(contract)
    assert await office.run_execution()
    executed = await office.read(contract.id)
    audit = await press.check((await storage.read(str(executed.sealed_key)))[0])
    assert [(one["wallet_address"], one["wallet_signature"]) for one in audit["signatures"]] == [
        (WALLET.address.lower(), signature),
        (None, None),
    ]


@pytest.mark.parametrize(
    ("wallet_signature", "refusal"),
    [
        (lambda sha: signed_by(STRANGER, sha), (409, "wallet-differs")),
        (lambda _: signed_by(WALLET, "0" * 64), (409, "wallet-differs")),
        (lambda sha: signed_by(WALLET, sha, chainId=1), (409, "wallet-differs")),
        (lambda sha: signed_by(WALLET, sha, name="Other"), (409, "wallet-differs")),
        (lambda sha: high_s(signed_by(WALLET, sha)), (422, "wallet-signature-invalid")),
        (lambda sha: signed_by(WALLET, sha)[:-2] + "00", (422, "wallet-signature-invalid")),
        (lambda sha: signed_by(WALLET, sha)[:-2] + "01", (422, "wallet-signature-invalid")),
        (lambda _: "0x" + "00" * 64 + "1b", (422, "wallet-signature-invalid")),
        (lambda _: f"0x{5:064x}{1:064x}1b", (422, "wallet-signature-invalid")),  # no such point
        (lambda sha: signed_by(WALLET, sha)[:-2], (422, "invalid-request")),
        (lambda sha: signed_by(WALLET, sha) + "00", (422, "invalid-request")),
        (lambda sha: signed_by(WALLET, sha)[2:], (422, "invalid-request")),
    ],
    ids=[
        *("stranger", "other document", "other chain", "other domain", "high s", "v of 0"),
        *("v of 1", "zeros", "off the curve", "short", "long", "no prefix"),
    ],
)
async def test_any_other_signature_is_refused_and_nothing_is_signed(
    http: httpx.AsyncClient,
    issuer: TestIssuer,
    contract: Contract,
    office: Office,
    wallet_signature: Any,
    refusal: tuple[int, str],
) -> None:
    answer = await sign(http, issuer, contract, wallet_signature(str(contract.sha256)))
    problem = answer.json()
    assert (answer.status_code, problem["type"].rpartition("/")[2]) == refusal, problem
    assert "wallet_signature" in answer.text
    assert await office.database.rows("SELECT id FROM signatures") == []
    assert (await office.read(contract.id)).version == contract.version


async def test_who_has_no_wallet_signs_without_one(
    http: httpx.AsyncClient, issuer: TestIssuer, contract: Contract, office: Office
) -> None:
    await office.database.rows("UPDATE users SET wallet_address = NULL")
    refused = await sign(http, issuer, contract, signed_by(WALLET, str(contract.sha256)))
    assert "you have linked no wallet" in refused.json()["detail"]
    assert (await sign(http, issuer, contract, None)).status_code == 200
