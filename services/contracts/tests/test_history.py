"""Everything that happens to a contract is written down once, with who, from where and why."""

import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID, uuid4

import httpx
import pypdf
import pytest
from services.contracts.tests.conftest import Office, make_deal

from contracts.documents.storage import Storage
from contracts.models import Contract
from shared.testing.tokens import TestIssuer

AGENT = "tests/1.0 (somewhere)"
ADMIN, MODERATOR = UUID(int=7), UUID(int=8)


class Person:
    """A client that comes from an address of its own."""

    def __init__(
        self, http: httpx.AsyncClient, issuer: TestIssuer, user_id: UUID | None, ip: str
    ) -> None:
        roles: dict[UUID | None, list[str]] = {ADMIN: ["admin"], MODERATOR: ["moderator"]}
        self._http, self.ip, self.user_id = http, ip, user_id
        self._who = issuer.authorization(user_id, roles=roles.get(user_id, [])) if user_id else {}

    async def send(self, method: str, path: str, body: Any = None) -> httpx.Response:
        headers = {
            **self._who,
            "User-Agent": AGENT,
            "X-Forwarded-For": self.ip,
            "Idempotency-Key": str(uuid4()),
        }
        return await self._http.request(method, path, json=body, headers=headers)


Make = Callable[[UUID | None, str], Person]


@pytest.fixture
def person(http: httpx.AsyncClient, issuer: TestIssuer) -> Make:
    return lambda user_id, ip: Person(http, issuer, user_id, ip)


async def test_the_parties_see_networks_and_staff_see_addresses(
    office: Office, person: Make, storage: Storage
) -> None:
    contract = await office.draw_up(make_deal())
    seller = person(contract.seller_id, "203.0.113.77")
    buyer = person(contract.buyer_id, "2001:db8:1:2::9")
    path = f"/v1/contracts/{contract.id}"
    for party in (seller, buyer):
        assert (await party.send("GET", f"{path}/document")).status_code == 200
        body = {"document_sha256": contract.sha256, "consent": True}
        assert (await party.send("POST", f"{path}/sign", body)).status_code == 200
    known = (await seller.send("GET", f"{path}/history")).json()
    networks: dict[UUID | None, str] = {
        contract.seller_id: "203.0.113.0/24",
        contract.buyer_id: "2001:db8:1::/48",
    }
    expected = [
        (what, user_id and str(user_id), networks.get(user_id), None)
        for what, user_id in (
            ("contract.created", None),
            ("contract.viewed", contract.seller_id),
            ("contract.part_signed", contract.seller_id),
            ("contract.viewed", contract.buyer_id),
            ("contract.signed", contract.buyer_id),
        )
    ]
    rows = [(one["what"], one["user_id"], one["network"], one["ip"]) for one in known["items"]]
    assert (rows, known["execution"]) == (expected, None)
    assert {one["document_sha256"] for one in known["items"]} == {contract.sha256}
    assert [one["method"] for one in known["items"]] == [None, None, "API", None, "API"]
    assert (await person(uuid4(), "127.0.0.1").send("GET", f"{path}/history")).status_code == 404

    await office.begin_execution(contract)
    staff = person(MODERATOR, "127.0.0.1")
    page = (await staff.send("GET", f"{path}/history?limit=3")).json()
    rest = (await staff.send("GET", f"{path}/history?cursor={page['next_cursor']}")).json()
    seen = [*page["items"], *rest["items"]]
    assert [one["ip"] for one in seen] == [None, *[seller.ip] * 2, *[buyer.ip] * 2]
    assert {one["user_agent"] for one in seen} == {None, AGENT}
    assert rest["next_cursor"] is None
    junk = await staff.send("GET", f"{path}/history?cursor=junk")
    assert junk.status_code == 422
    assert (rest["execution"]["status"], rest["execution"]["attempts"]) == ("PENDING", 0)

    assert await office.run_execution()
    executed = await office.read(contract.id)
    sealed = pypdf.PdfReader(io.BytesIO((await storage.read(str(executed.sealed_key)))[0]))
    audit = json.loads(sealed.attachments["audit.json"][0])
    assert [{**event, "at": None} for event in known["items"] if event.pop("ip") is None] == [
        {**event, "at": None} for event in audit["events"]
    ]
    text = " ".join(" ".join(page.extract_text() for page in sealed.pages).split())
    opened = f"Document opened: Sasha, from 203.0.113.0/24, with {AGENT}, SHA-256"
    assert f"{opened} {str(contract.sha256)[:16]}\u2026" in text
    assert seller.ip not in text + str(audit)


async def test_a_document_is_looked_at_a_hundred_times_a_day_by_one_person(
    office: Office, person: Make
) -> None:
    contract = await office.draw_up(make_deal())
    await office.database.rows(
        "INSERT INTO audit_logs (id, action, user_id, subject_type, subject_id, details)"
        " SELECT gen_random_uuid(), 'contract.viewed', $1, 'contract', $2, '{}'"
        " FROM generate_series(1, 99)",
        contract.buyer_id,
        str(contract.id),
    )
    buyer = person(contract.buyer_id, "127.0.0.1")
    path = f"/v1/contracts/{contract.id}/document"
    assert (await buyer.send("GET", path)).status_code == 200
    refused = await buyer.send("GET", path)
    assert (refused.status_code, "Retry-After" in refused.headers) == (429, True)
    assert (await person(contract.seller_id, "127.0.0.1").send("GET", path)).status_code == 200


class Commands:
    """One request for every route that changes something, and what it must have changed."""

    def __init__(self, office: Office, person: Make, contracts: Sequence[Contract]) -> None:
        self.office, self.person, self._contracts = office, person, list(contracts)

    async def drawn_up(self) -> Contract:
        return self._contracts.pop()

    async def failed(self) -> Contract:
        contract = await self.drawn_up()
        await self.office.sign(contract)
        await self.office.begin_execution(contract)
        await self.office.database.rows(
            "UPDATE contracts SET status = 'EXECUTION_FAILED' WHERE id = $1", contract.id
        )
        return contract

    async def link(self, contract: Contract) -> dict[str, str]:
        buyer = self.person(contract.buyer_id, "127.0.0.1")
        made = await buyer.send("POST", f"/v1/contracts/{contract.id}/sign-link", {})
        return {"token": made.json()["url"].partition("#")[2]}

    async def template(self, version: str) -> dict[str, Any]:
        body = {
            "name": "Short",
            "version": version,
            "consent": "I agree.",
            "clauses": [{"heading": "Sale", "text": "All."}],
        }
        await self.person(ADMIN, "127.0.0.1").send("POST", "/v1/contract-templates", body)
        return body


Asked = tuple[UUID | None, str, Any, UUID, str]
"""Who is signed in, path, body, who acts, and the audit row's action."""
OPENED: dict[str, Callable[[Commands], Awaitable[Asked]]] = {}


def opens(route: str) -> Callable[..., Any]:
    def keep(ask: Callable[[Commands], Awaitable[Asked]]) -> Any:
        OPENED[route] = ask
        return ask

    return keep


def _signing(contract: Contract) -> dict[str, Any]:
    return {"document_sha256": contract.sha256, "consent": True}


@opens("/v1/contracts/{contract_id}/sign")
async def _sign(commands: Commands) -> Asked:
    one = await commands.drawn_up()
    path = f"/v1/contracts/{one.id}/sign"
    return one.buyer_id, path, _signing(one), one.buyer_id, "contract.part_signed"


@opens("/v1/contracts/{contract_id}/decline")
async def _decline(commands: Commands) -> Asked:
    one = await commands.drawn_up()
    path = f"/v1/contracts/{one.id}/decline"
    return one.seller_id, path, {}, one.seller_id, "contract.voided"


@opens("/v1/contracts/{contract_id}/sign-link")
async def _make_link(commands: Commands) -> Asked:
    one = await commands.drawn_up()
    path = f"/v1/contracts/{one.id}/sign-link"
    return one.seller_id, path, {}, one.seller_id, "contract.link_made"


@opens("/v1/contracts/{contract_id}/retry")
async def _retry(commands: Commands) -> Asked:
    one = await commands.failed()
    path = f"/v1/contracts/{one.id}/retry"
    return one.seller_id, path, None, one.seller_id, "contract.retried"


@opens("/v1/contracts/{contract_id}/void")
async def _void(commands: Commands) -> Asked:
    one = await commands.failed()
    return MODERATOR, f"/v1/contracts/{one.id}/void", {}, MODERATOR, "contract.voided"


@opens("/v1/contracts/link/view")
async def _view_by_link(commands: Commands) -> Asked:
    one = await commands.drawn_up()
    body = await commands.link(one)
    return None, "/v1/contracts/link/view", body, one.buyer_id, "contract.viewed"


@opens("/v1/contracts/link/sign")
async def _sign_by_link(commands: Commands) -> Asked:
    one = await commands.drawn_up()
    body = await commands.link(one) | _signing(one)
    return None, "/v1/contracts/link/sign", body, one.buyer_id, "contract.part_signed"


@opens("/v1/contracts/link/decline")
async def _decline_by_link(commands: Commands) -> Asked:
    one = await commands.drawn_up()
    body = await commands.link(one)
    return None, "/v1/contracts/link/decline", body, one.buyer_id, "contract.voided"


@opens("/v1/contract-templates")
async def _create_template(commands: Commands) -> Asked:
    body = await commands.template("7.0.0") | {"version": "7.0.3"}
    return ADMIN, "/v1/contract-templates", body, ADMIN, "contract_template.created"


@opens("/v1/contract-templates/{version}/activate")
async def _activate_template(commands: Commands) -> Asked:
    await commands.template("7.0.1")
    path = "/v1/contract-templates/7.0.1/activate"
    return ADMIN, path, None, ADMIN, "contract_template.activated"


@opens("/v1/contract-templates/{version}/deprecate")
async def _deprecate_template(commands: Commands) -> Asked:
    await commands.template("7.0.2")
    path = "/v1/contract-templates/7.0.2/deprecate"
    return ADMIN, path, None, ADMIN, "contract_template.deprecated"


CHANGES_NOTHING = {"/v1/contracts/verify"}


async def test_no_route_that_changes_something_is_forgotten(http: httpx.AsyncClient) -> None:
    paths = (await http.get("/v1/contracts/openapi.json")).json()["paths"]
    changing = {path for path, methods in paths.items() if set(methods) - {"get", "head"}}
    assert changing == set(OPENED) | CHANGES_NOTHING


@pytest.fixture
async def no_more_templates(office: Office) -> AsyncIterator[None]:
    """Templates outlive the emptying of a database."""
    yield
    await office.database.rows("DELETE FROM contract_templates WHERE version LIKE '7.0._'")
    await office.database.rows("UPDATE contract_templates SET is_active = true")


@pytest.mark.usefixtures("no_more_templates")
async def test_a_command_writes_one_audit_row_that_names_actor_address_and_request(
    office: Office, person: Make
) -> None:
    copies = await office.copies(await office.draw_up(make_deal()), len(OPENED))
    commands = Commands(office, person, copies)
    for route, ask in OPENED.items():
        signed_in, path, body, actor, action = await ask(commands)
        before = await office.database.rows("SELECT id FROM audit_logs")
        answer = await person(signed_in, "198.51.100.9").send("POST", path, body)
        assert answer.is_success, answer.text
        rows = await office.database.rows(
            "SELECT action, user_id, ip, user_agent, request_id FROM audit_logs"
            " WHERE id <> ALL ($1)",
            [row["id"] for row in before],
        )
        request_id = answer.headers["X-Request-Id"]
        assert [tuple(row.values()) for row in rows] == [
            (action, actor, "198.51.100.9", AGENT, request_id)
        ], route
