"""The HTTP surface: who gets what, and what is refused how."""

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from services.contracts.tests.conftest import PUBLIC_URL, Office, make_deal

from contracts.lifecycle import ContractStatus
from contracts.models import Contract
from shared.testing import Database
from shared.testing.tokens import TestIssuer

As = Callable[..., dict[str, str]]


@pytest.fixture
def as_(issuer: TestIssuer) -> As:
    """Headers of a user's request."""

    def headers(user_id: UUID, *roles: str, key: str | None = None) -> dict[str, str]:
        return {
            **issuer.authorization(user_id, roles=roles),
            "Idempotency-Key": key or str(uuid4()),
        }

    return headers


@pytest.fixture
async def contract(office: Office) -> Contract:
    return await office.draw_up(make_deal())


def signing(contract: Contract, **changes: Any) -> dict[str, Any]:
    return {"document_sha256": contract.sha256, "consent": True, **changes}


def code(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["Content-Type"].startswith("application/problem+json"), answer.text
    return answer.status_code, answer.json()["type"].rpartition("/")[2]


async def test_a_party_reads_the_contract_and_its_document(
    http: httpx.AsyncClient, contract: Contract, as_: As, database: Database
) -> None:
    me = as_(contract.buyer_id)
    listed = await http.get(f"/v1/contracts?offer_id={contract.offer_id}", headers=me)
    [item] = listed.json()["items"]
    one = (await http.get(f"/v1/contracts/{contract.id}", headers=me)).json()
    assert item == one
    assert (one["status"], one["document_sha256"], one["amount"], one["currency"]) == (
        "PENDING_SIGNATURE",
        contract.sha256,
        450_000,
        "USD",
    )
    assert [(party["role"], party["name"], party["has_signed"]) for party in one["parties"]] == [
        ("SELLER", "Sasha", False),
        ("BUYER", "Blair", False),
    ]
    assert one["consent_text"].startswith("I have read this contract.")
    document = (await http.get(f"/v1/contracts/{contract.id}/document", headers=me)).json()
    async with httpx.AsyncClient() as browser:
        downloaded = await browser.get(document["url"])
    assert hashlib.sha256(downloaded.content).hexdigest() == document["sha256"] == contract.sha256
    viewed = await database.rows(
        "SELECT user_id FROM audit_logs WHERE action = 'contract.viewed' AND subject_id = $1",
        str(contract.id),
    )
    assert [row["user_id"] for row in viewed] == [contract.buyer_id]


async def test_strangers_find_nothing_and_staff_read_all(
    http: httpx.AsyncClient, contract: Contract, as_: As
) -> None:
    stranger, staff = as_(uuid4()), as_(uuid4(), "moderator")
    path = f"/v1/contracts/{contract.id}"
    for method, where, body in (
        ("GET", path, None),
        ("GET", f"{path}/document", None),
        ("POST", f"{path}/sign", signing(contract)),
        ("POST", f"{path}/decline", {}),
        ("POST", f"{path}/sign-link", {}),
        ("POST", f"{path}/retry", {}),
    ):
        answer = await http.request(method, where, headers=as_(uuid4()), json=body)
        assert code(answer) == (404, "contract-not-found"), where
    assert (await http.get("/v1/contracts", headers=stranger)).json()["items"] == []
    assert (await http.get(path, headers=staff)).json()["id"] == str(contract.id)
    assert (await http.get(f"{path}/document", headers=staff)).status_code == 200
    assert code(await http.post(f"{path}/sign", headers=staff, json=signing(contract))) == (
        404,
        "contract-not-found",
    )
    assert (await http.get(path)).status_code == 401


async def test_both_sign_and_a_repeated_request_is_answered_alike(
    http: httpx.AsyncClient, contract: Contract, as_: As, office: Office
) -> None:
    path = f"/v1/contracts/{contract.id}/sign"
    seller = as_(contract.seller_id) | {"User-Agent": "tests"}
    first = await http.post(path, headers=seller, json=signing(contract))
    again = await http.post(path, headers=seller, json=signing(contract))
    assert (first.status_code, again.status_code, again.json()) == (200, 200, first.json())
    assert again.headers["Idempotency-Replayed"] == "true"
    assert first.json()["status"] == "PENDING_SIGNATURE"
    other_key = as_(contract.seller_id)
    assert code(await http.post(path, headers=other_key, json=signing(contract))) == (
        409,
        "already-signed",
    )
    last = await http.post(path, headers=as_(contract.buyer_id), json=signing(contract))
    assert last.json()["status"] == "EXECUTING"
    assert [given["method"] for given in last.json()["signatures"]] == ["API", "API"]
    row = await office.database.one(
        "SELECT ip_address, user_agent FROM signatures WHERE user_id = $1", contract.seller_id
    )
    assert (row["ip_address"], row["user_agent"]) == ("127.0.0.1", "tests")


async def test_another_s_idempotency_key_shows_and_does_nothing_of_theirs(
    http: httpx.AsyncClient, contract: Contract, as_: As, office: Office
) -> None:
    path = f"/v1/contracts/{contract.id}/sign"
    for user_id, expected in ((contract.seller_id, 200), (uuid4(), 404), (contract.buyer_id, 200)):
        headers = as_(user_id, key="the-same")
        answer = await http.post(path, headers=headers, json=signing(contract))
        assert answer.status_code == expected
        assert "Idempotency-Replayed" not in answer.headers
    signed = await office.database.rows("SELECT user_id FROM signatures ORDER BY signed_at")
    assert [row["user_id"] for row in signed] == [contract.seller_id, contract.buyer_id]
    elsewhere = await http.post(
        f"/v1/contracts/{contract.id}/decline",
        headers=as_(contract.seller_id, key="the-same"),
        json={},
    )
    assert code(elsewhere) == (409, "illegal-move")


@pytest.mark.parametrize("name", ["..%2f..%2fcontracts", "%2e%2e", "a/../b", "sealed.pdf"])
async def test_no_other_object_than_a_contract_s_own_can_be_named(
    http: httpx.AsyncClient, contract: Contract, as_: As, name: str
) -> None:
    answer = await http.get(f"/v1/contracts/{name}/document", headers=as_(contract.buyer_id))
    assert answer.status_code in {404, 422}
    assert "url" not in answer.json()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"document_sha256": "0" * 64}, (409, "document-differs")),
        ({"document_sha256": "0"}, (422, "invalid-request")),
        ({"consent": False}, (422, "invalid-request")),
        ({"user_id": str(uuid4())}, (422, "invalid-request")),
    ],
)
async def test_a_wrong_request_to_sign_is_refused_and_changes_nothing(
    http: httpx.AsyncClient,
    contract: Contract,
    as_: As,
    office: Office,
    changes: dict[str, Any],
    expected: tuple[int, str],
) -> None:
    path = f"/v1/contracts/{contract.id}/sign"
    body = signing(contract, **changes)
    assert code(await http.post(path, headers=as_(contract.buyer_id), json=body)) == expected
    assert await office.database.rows("SELECT id FROM signatures") == []
    assert (await office.read(contract.id)).version == contract.version


async def test_discord_signs_for_its_user_with_the_exact_words(
    http: httpx.AsyncClient, contract: Contract, issuer: TestIssuer, database: Database
) -> None:
    async def sign(act: str | None, confirmation: str | None, **claims: str) -> httpx.Response:
        said = {} if confirmation is None else {"confirmation": confirmation}
        token = issuer.authorization(contract.buyer_id, act=act, **claims)
        return await http.post(
            f"/v1/contracts/{contract.id}/sign",
            json=signing(contract, **said),
            headers={**token, "Idempotency-Key": str(uuid4())},
        )

    for act, words, claims, refusal in (
        ("discord", "I agree", {}, (422, "not-confirmed")),
        ("discord", None, {}, (422, "not-confirmed")),
        (None, "I AGREE", {}, (422, "not-confirmed")),
        ("somebody", "I AGREE", {}, (403, "may-not-sign")),
        ("discord", "I AGREE", {"scope": "browse offer"}, (403, "may-not-sign")),
    ):
        assert code(await sign(act, words, **claims)) == refusal
    assert await database.rows("SELECT FROM signatures") == []
    signed = await sign("discord", "I AGREE", scope="browse offer sign")
    assert signed.status_code == 200
    assert [one["method"] for one in signed.json()["signatures"]] == ["DISCORD_NATIVE"]
    row = await database.one(
        "SELECT user_id, client, details ->> 'method' AS method FROM audit_logs"
        " WHERE action = 'contract.part_signed'"
    )
    assert row == {"user_id": contract.buyer_id, "client": "discord", "method": "DISCORD_NATIVE"}


async def test_signing_needs_an_idempotency_key(
    http: httpx.AsyncClient, contract: Contract, issuer: TestIssuer
) -> None:
    headers = issuer.authorization(contract.buyer_id)
    answer = await http.post(
        f"/v1/contracts/{contract.id}/sign", headers=headers, json=signing(contract)
    )
    assert code(answer) == (400, "idempotency-key-required")


async def test_a_declined_contract_cannot_be_signed(
    http: httpx.AsyncClient, contract: Contract, as_: As
) -> None:
    path = f"/v1/contracts/{contract.id}"
    declined = await http.post(
        f"{path}/decline", headers=as_(contract.buyer_id), json={"reason": "Too late."}
    )
    assert (declined.json()["status"], declined.json()["void_reason"]) == ("VOID", "DECLINED")
    refused = await http.post(
        f"{path}/sign", headers=as_(contract.seller_id), json=signing(contract)
    )
    assert code(refused) == (409, "illegal-move")
    assert refused.json()["state"] == "VOID"
    again = await http.post(f"{path}/decline", headers=as_(contract.buyer_id), json={})
    assert code(again) == (409, "illegal-move")


async def link_of(http: httpx.AsyncClient, contract: Contract, headers: dict[str, str]) -> str:
    answer = await http.post(f"/v1/contracts/{contract.id}/sign-link", headers=headers, json={})
    assert answer.status_code == 200, answer.text
    url: str = answer.json()["url"]
    assert url.startswith(f"{PUBLIC_URL}/sign#")
    return url.partition("#")[2]


async def test_a_link_shows_and_signs_one_contract_without_a_token(
    http: httpx.AsyncClient, contract: Contract, as_: As, office: Office
) -> None:
    evil = {"Host": "evil.example", "X-Forwarded-Host": "evil.example"}
    token = await link_of(http, contract, as_(contract.buyer_id) | evil)
    for _ in range(3):
        seen = await http.post("/v1/contracts/link/view", json={"token": token})
        assert seen.json()["contract"]["id"] == str(contract.id)
        assert seen.json()["document"]["sha256"] == contract.sha256
    headers = {"Idempotency-Key": "once"}
    body = signing(contract, token=token)
    signed = await http.post("/v1/contracts/link/sign", headers=headers, json=body)
    assert [given["method"] for given in signed.json()["signatures"]] == ["WEB_BASED"]
    replayed = await http.post("/v1/contracts/link/sign", headers=headers, json=body)
    assert (replayed.status_code, replayed.json()) == (200, signed.json())
    for path, used in (
        ("view", {"token": token}),
        ("sign", body),
        ("decline", {"token": token}),
        ("view", {"token": "x" * 43}),
    ):
        answer = await http.post(
            f"/v1/contracts/link/{path}", headers={"Idempotency-Key": "other"}, json=used
        )
        assert code(answer) == (404, "link-not-usable")
    [audit] = await office.database.rows(
        "SELECT user_id FROM audit_logs WHERE action = 'contract.part_signed'"
    )
    assert audit["user_id"] == contract.buyer_id


async def test_of_fifty_who_redeem_a_link_at_once_one_signs(
    http: httpx.AsyncClient, contract: Contract, as_: As, office: Office
) -> None:
    token = await link_of(http, contract, as_(contract.seller_id))

    async def redeem() -> int:
        answer = await http.post(
            "/v1/contracts/link/sign",
            headers={"Idempotency-Key": str(uuid4())},
            json=signing(contract, token=token),
        )
        return answer.status_code

    statuses = await asyncio.gather(*(redeem() for _ in range(50)))
    assert sorted(statuses) == [200] + [404] * 49
    assert len(await office.database.rows("SELECT id FROM signatures")) == 1


async def test_a_link_declines(
    http: httpx.AsyncClient, contract: Contract, as_: As, office: Office
) -> None:
    token = await link_of(http, contract, as_(contract.seller_id))
    body = {"token": token, "reason": "No."}
    declined = await http.post("/v1/contracts/link/decline", json=body)
    assert declined.json()["void_reason"] == "DECLINED"
    assert (await office.read(contract.id)).note == "No."


async def test_a_link_is_made_once_per_key_and_not_too_often(
    http: httpx.AsyncClient, contract: Contract, as_: As
) -> None:
    headers = as_(contract.seller_id, key="same")
    path = f"/v1/contracts/{contract.id}/sign-link"
    assert (await http.post(path, headers=headers, json={})).status_code == 200
    assert code(await http.post(path, headers=headers, json={})) == (
        409,
        "idempotency-answer-not-kept",
    )
    for _ in range(18):
        assert (await http.post(path, headers=as_(contract.seller_id), json={})).is_success
    limited = await http.post(path, headers=as_(contract.seller_id), json={})
    assert code(limited) == (429, "too-many-requests")
    assert int(limited.headers["Retry-After"]) > 0


async def test_what_failed_is_retried_by_a_party_or_voided_by_staff(
    http: httpx.AsyncClient, contract: Contract, as_: As, office: Office
) -> None:
    path = f"/v1/contracts/{contract.id}"
    await office.sign(contract)
    await office.begin_execution(contract)
    assert code(await http.post(f"{path}/retry", headers=as_(contract.buyer_id))) == (
        409,
        "illegal-move",
    )

    async def fail() -> None:
        await office.database.rows(
            "UPDATE contract_execution_jobs SET status = 'FAILED', attempts = 3"
        )
        await office.database.rows(
            "UPDATE contracts SET status = 'EXECUTION_FAILED' WHERE id = $1", contract.id
        )

    await fail()
    retried = await http.post(f"{path}/retry", headers=as_(contract.buyer_id))
    assert retried.json()["status"] == "EXECUTING"
    job = await office.database.one("SELECT status, attempts FROM contract_execution_jobs")
    assert (job["status"], job["attempts"]) == ("PENDING", 0)
    await fail()
    forbidden = await http.post(f"{path}/void", headers=as_(contract.buyer_id), json={})
    assert code(forbidden) == (403, "forbidden")
    voided = await http.post(
        f"{path}/void", headers=as_(uuid4(), "moderator"), json={"reason": "Broken for good."}
    )
    assert (voided.json()["status"], voided.json()["void_reason"]) == ("VOID", "STAFF")
    assert (await office.read(contract.id)).status is ContractStatus.VOID


async def test_a_contract_without_a_document_says_so(
    http: httpx.AsyncClient, contract: Contract, as_: As, office: Office
) -> None:
    deal = make_deal()
    await office.accept(deal)
    await office.database.rows("UPDATE deadlines SET due_at = clock()")
    await office.tick()
    void = await office.contract(deal)
    headers = as_(deal.buyer.user_id)
    assert code(await http.get(f"/v1/contracts/{void.id}/document", headers=headers)) == (
        404,
        "document-not-made",
    )
    view = (await http.get(f"/v1/contracts/{void.id}", headers=headers)).json()
    assert (view["status"], view["document_sha256"]) == ("VOID", None)


async def test_lists_are_read_page_by_page(
    http: httpx.AsyncClient, office: Office, as_: As, database: Database
) -> None:
    deal = make_deal()
    contracts = [await office.draw_up(make_deal(seller=deal.seller)) for _ in range(3)]
    headers = as_(deal.seller.user_id)
    seen: list[str] = []
    path = "/v1/contracts?limit=2"
    while path:
        page = (await http.get(path, headers=headers)).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        path = f"/v1/contracts?limit=2&cursor={cursor}" if cursor else ""
    assert seen == [str(contract.id) for contract in reversed(contracts)]
    junk = await http.get("/v1/contracts?cursor=junk", headers=headers)
    assert code(junk) == (422, "invalid")
