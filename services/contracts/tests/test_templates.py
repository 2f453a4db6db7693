"""Which words contracts are made of: who decides, what is refused, and that one is active."""

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pypdf
import pytest
from services.contracts.tests.conftest import Office, make_deal

from shared.testing import Database
from shared.testing.tokens import TestIssuer

PATH = "/v1/contract-templates"
ADMIN = UUID(int=7)


def terms(version: str = "2.0.0", **changes: Any) -> dict[str, Any]:
    return {
        "name": "Short Sale Agreement",
        "version": version,
        "consent": "I agree to these words.",
        "clauses": [{"heading": "Sale", "text": "{buyer_name} buys {game_name} for {price}."}],
        **changes,
    }


@pytest.fixture(autouse=True)
async def only_the_first(database: Database) -> AsyncIterator[None]:
    """Templates outlive the emptying of a database, so each test takes its own away."""
    yield
    await database.truncate()
    await database.rows("DELETE FROM contract_templates WHERE version <> '1.0.0'")
    await database.rows("UPDATE contract_templates SET is_active = true, deprecated_at = NULL")


@pytest.fixture
def admin(issuer: TestIssuer) -> dict[str, str]:
    return issuer.authorization(ADMIN, roles=["admin"])


def code(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["Content-Type"].startswith("application/problem+json"), answer.text
    return answer.status_code, answer.json()["type"].rpartition("/")[2]


async def kept(database: Database) -> list[tuple[str, bool, bool]]:
    """Version, active, deprecated."""
    rows = await database.rows("SELECT * FROM contract_templates ORDER BY version")
    return [(row["version"], row["is_active"], row["deprecated_at"] is not None) for row in rows]


async def audited(database: Database) -> list[tuple[str, str, UUID]]:
    rows = await database.rows(
        "SELECT action, details ->> 'version' AS version, user_id FROM audit_logs"
        " WHERE subject_type = 'contract_template' ORDER BY created_at, id"
    )
    return [
        (row["action"].removeprefix("contract_template."), row["version"], row["user_id"])
        for row in rows
    ]


async def test_new_terms_are_kept_chosen_and_ended(
    http: httpx.AsyncClient, admin: dict[str, str], database: Database, office: Office
) -> None:
    before = await office.draw_up(make_deal())
    keyed = admin | {"Idempotency-Key": "once"}
    created = await http.post(PATH, headers=keyed, json=terms())
    again = await http.post(PATH, headers=keyed, json=terms())
    assert (created.status_code, again.json()) == (201, created.json())
    assert {name: created.json()[name] for name in ("is_active", "deprecated_at", *terms())} == {
        "is_active": False,
        "deprecated_at": None,
        **terms(),
    }
    active = await http.post(f"{PATH}/2.0.0/activate", headers=admin)
    repeated = await http.post(f"{PATH}/2.0.0/activate", headers=admin)
    assert (active.json()["is_active"], repeated.json()) == (True, active.json())
    assert await kept(database) == [("1.0.0", False, False), ("2.0.0", True, False)]
    ended = await http.post(f"{PATH}/1.0.0/deprecate", headers=admin)
    assert ended.json()["deprecated_at"] is not None
    listed = (await http.get(PATH, headers=admin)).json()["items"]
    assert [item["version"] for item in listed] == ["2.0.0", "1.0.0"]
    assert await audited(database) == [
        ("created", "2.0.0", ADMIN),
        ("activated", "2.0.0", ADMIN),
        ("deprecated", "1.0.0", ADMIN),
    ]
    after = await office.draw_up(make_deal())
    old = await office.read(before.id)
    assert (old.template_version, old.sha256, after.template_version) == (
        "1.0.0",
        before.sha256,
        "2.0.0",
    )


async def test_what_would_leave_no_words_or_other_words_is_refused(
    http: httpx.AsyncClient, admin: dict[str, str], database: Database
) -> None:
    await http.post(PATH, headers=admin, json=terms())
    await http.post(f"{PATH}/2.0.0/deprecate", headers=admin)
    state, said = await kept(database), await audited(database)
    for path, body, refusal in (
        (PATH, terms("1.0.0"), (409, "template-exists")),
        (f"{PATH}/1.0.0/deprecate", None, (409, "template-active")),
        (f"{PATH}/2.0.0/activate", None, (409, "template-deprecated")),
        (f"{PATH}/9.9.9/activate", None, (404, "template-not-found")),
        (f"{PATH}/9.9.9/deprecate", None, (404, "template-not-found")),
    ):
        assert code(await http.post(path, headers=admin, json=body)) == refusal, path
    assert code(await http.get(f"{PATH}/9.9.9/preview", headers=admin)) == (
        404,
        "template-not-found",
    )
    assert (await kept(database), await audited(database)) == (state, said)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"clauses": [{"heading": "a", "text": "{price_paid}"}]}, "clauses.0.text"),
        ({"clauses": [{"heading": "a", "text": "{price"}]}, "clauses.0.text"),
        ({"clauses": [{"heading": "{price}", "text": "a"}]}, "clauses.0.heading"),
        ({"clauses": []}, "clauses"),
        ({"consent": "I pay {price}."}, "consent"),
        ({"name": ""}, "name"),
        ({"version": "2.0"}, "version"),
        ({"version": "02.0.0"}, "version"),
        ({"version": "\u0662.0.0"}, "version"),
        ({"is_active": True}, "is_active"),
    ],
)
async def test_terms_that_cannot_be_filled_are_refused(
    http: httpx.AsyncClient,
    admin: dict[str, str],
    database: Database,
    changes: dict[str, Any],
    field: str,
) -> None:
    answer = await http.post(PATH, headers=admin, json=terms(**changes))
    assert answer.status_code == 422, answer.text
    assert field in answer.text
    assert await kept(database) == [("1.0.0", True, False)]
    assert await audited(database) == []


async def test_staff_read_and_only_admins_in_person_decide(
    http: httpx.AsyncClient, issuer: TestIssuer, database: Database
) -> None:
    user = issuer.authorization(uuid4())
    moderator = issuer.authorization(uuid4(), roles=["moderator"])
    lent = issuer.authorization(uuid4(), roles=["admin"], scope="sign")
    for path in (PATH, f"{PATH}/1.0.0", f"{PATH}/1.0.0/preview"):
        assert (await http.get(path)).status_code == 401, path
        assert code(await http.get(path, headers=user)) == (403, "forbidden"), path
        assert (await http.get(path, headers=moderator)).status_code == 200, path
    for headers in (user, moderator, lent):
        for path, body in (
            (PATH, terms()),
            (f"{PATH}/1.0.0/activate", None),
            (f"{PATH}/1.0.0/deprecate", None),
        ):
            assert code(await http.post(path, headers=headers, json=body)) == (403, "forbidden")
    assert await kept(database) == [("1.0.0", True, False)]


async def test_a_preview_shows_the_words_on_a_sample_trade(
    http: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    await http.post(PATH, headers=admin, json=terms())
    first, second = [await http.get(f"{PATH}/2.0.0/preview", headers=admin) for _ in range(2)]
    assert (first.headers["Content-Type"], first.content) == ("application/pdf", second.content)
    pages = pypdf.PdfReader(io.BytesIO(first.content)).pages
    text = " ".join(" ".join(page.extract_text() for page in pages).split())
    assert "Sample Buyer buys Sample Game for $4,500.00" in text
    assert "It was concluded by nobody and binds nobody." in text


async def test_of_many_activated_at_once_one_is_active(
    http: httpx.AsyncClient, admin: dict[str, str], database: Database
) -> None:
    versions = [f"2.0.{number}" for number in range(4)]
    for version in versions:
        await http.post(PATH, headers=admin, json=terms(version))
    answers = await asyncio.gather(
        *(http.post(f"{PATH}/{version}/activate", headers=admin) for version in versions)
    )
    assert [answer.status_code for answer in answers] == [200] * 4
    assert [active for _, active, _ in await kept(database)].count(True) == 1
    with pytest.raises(asyncpg.UniqueViolationError):
        await database.rows("UPDATE contract_templates SET is_active = true")
    with pytest.raises(asyncpg.PostgresError, match="never changes"):
        await database.rows("UPDATE contract_templates SET terms = '{}'")
