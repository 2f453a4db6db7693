"""Evidence from announcement to the other side's download, over the real S3."""

import asyncio
import hashlib
import io
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError
from PIL import Image

if TYPE_CHECKING:
    from services.escrow.tests.conftest import Desk, Trade

    from shared.testing import Clock, Stack

WORDS = {"title": "Game transferred", "description": "To the buyer's group."}
TEXT = b"The group has been renamed."


def picture() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (3, 2), (200, 30, 30)).save(out, "PNG")
    return out.getvalue()


async def deliver(desk: "Desk", trade: "Trade", escrow_id: UUID, *files: str) -> httpx.Response:
    body = WORDS | {"evidence_ids": list(files)}
    return await desk.post(trade.seller_id, f"/v1/escrows/{escrow_id}/deliver", body)


async def say(desk: "Desk", user_id: UUID, dispute: dict[str, Any], *files: str) -> httpx.Response:
    place = f"/v1/escrows/{dispute['escrow_id']}/disputes/{dispute['id']}/evidence"
    body = {"statement": "See this.", "evidence_ids": list(files)}
    return await desk.post(user_id, place, body)


async def dispute(desk: "Desk", user_id: UUID, escrow_id: UUID, *files: str) -> Any:
    body = WORDS | {"evidence_ids": list(files)}
    answer = await desk.post(user_id, f"/v1/escrows/{escrow_id}/disputes", body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def download(desk: "Desk", user_id: UUID, file: dict[str, Any], **claims: Any) -> Any:
    path = f"/v1/escrows/{file['escrow_id']}/evidence/{file['id']}/download"
    return await desk.get(user_id, path, **claims)


async def states(desk: "Desk") -> list[tuple[str, bool]]:
    """(status, whether attached) of every file, oldest first."""
    rows = await desk.database.rows(
        "SELECT status, num_nonnulls(delivery_id, dispute_id) AS places FROM evidence_files"
        " ORDER BY id"
    )
    return [(row["status"], bool(row["places"])) for row in rows]


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].rpartition("/")[2]


async def test_a_delivery_shows_clean_files_to_both_sides_and_moderators(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await desk.funded(trade)
    image = await desk.evidence(trade.seller_id, escrow_id, picture(), "image/png")
    text = await desk.evidence(trade.seller_id, escrow_id, TEXT)
    assert (image["status"], text["status"]) == ("READY", "READY")
    assert text["sha256"] == hashlib.sha256(TEXT).hexdigest()
    assert problem(await download(desk, trade.buyer_id, text)) == (404, "evidence-not-found")

    answer = await deliver(desk, trade, escrow_id, image["id"], text["id"])
    assert answer.status_code == 200, answer.text
    [delivery] = answer.json()["deliveries"]
    assert [file["id"] for file in delivery["evidence"]] == [image["id"], text["id"]]
    assert (await desk.told(escrow_id))[-1]["evidence_count"] == 2

    moderator = uuid4()
    for reader, claims in ((trade.buyer_id, {}), (moderator, {"roles": ["moderator"]})):
        link = (await download(desk, reader, text, **claims)).json()
        async with httpx.AsyncClient() as anybody:
            got = await anybody.get(link["url"])
            shown = await anybody.get((await download(desk, reader, image, **claims)).json()["url"])
        assert got.content == TEXT
        assert got.headers["Content-Type"] == "application/octet-stream"
        expected = f'attachment; filename="evidence-{text["id"]}.txt"'
        assert got.headers["Content-Disposition"] == expected
        assert hashlib.sha256(shown.content).hexdigest() == image["sha256"]
        assert shown.headers["Content-Type"] == "image/png"
        assert shown.headers["Content-Disposition"].startswith("attachment;")
    viewed = await desk.database.rows(
        "SELECT user_id, details->>'evidence' AS file FROM audit_logs"
        " WHERE action = 'escrow.evidence_viewed' ORDER BY id"
    )
    readers = (trade.buyer_id, moderator)
    assert [tuple(row.values()) for row in viewed] == [
        (reader, file["id"]) for reader in readers for file in (text, image)
    ]
    assert problem(await download(desk, uuid4(), text)) == (404, "escrow-not-found")


async def test_the_upload_is_deleted_and_never_shown(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.funded(trade)
    file_id = await desk.upload(trade.seller_id, escrow_id, TEXT)
    key = f"incoming/{escrow_id}/{file_id}"
    assert await desk.storage.read(key, 100) == TEXT
    await desk.work()
    assert await desk.storage.read(key, 100) is None


async def test_both_sides_bring_files_to_a_dispute(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.delivered(trade)
    mine = await desk.evidence(trade.buyer_id, escrow_id, TEXT)
    opened = await dispute(desk, trade.buyer_id, escrow_id, mine["id"])
    assert (await desk.told(escrow_id))[-1]["topic"] == "escrow.disputed"
    assert (await desk.told(escrow_id))[-1]["evidence_count"] == 1
    other = await desk.evidence(trade.seller_id, escrow_id, b"Not so.")
    answered = await say(desk, trade.seller_id, opened, other["id"])
    assert [file["id"] for file in answered.json()["files"]] == [mine["id"], other["id"]]
    case = await desk.get(uuid4(), f"/v1/escrows/{escrow_id}/case", roles=["moderator"])
    [shown] = case.json()["disputes"]
    assert [file["uploader_id"] for file in shown["files"]] == [
        str(trade.buyer_id),
        str(trade.seller_id),
    ]


async def test_a_rejection_carries_evidence(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.delivered(trade)
    file = await desk.evidence(trade.buyer_id, escrow_id, TEXT)
    body = WORDS | {"evidence_ids": [file["id"]]}
    answer = await desk.post(trade.buyer_id, f"/v1/escrows/{escrow_id}/reject", body)
    assert [shown["id"] for shown in answer.json()["files"]] == [file["id"]]
    assert (await desk.told(escrow_id))[-1]["evidence_count"] == 1


async def test_a_file_is_attached_once_by_its_uploader_when_it_is_ready(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await desk.funded(trade)
    foreign = await desk.evidence(trade.buyer_id, escrow_id, TEXT)
    file_id = await desk.upload(trade.seller_id, escrow_id, TEXT)
    for refused, expected in (
        (foreign["id"], (404, "evidence-not-found")),
        (str(uuid4()), (404, "evidence-not-found")),
        (file_id, (409, "evidence-not-ready")),
    ):
        assert problem(await deliver(desk, trade, escrow_id, refused)) == expected
    await desk.work()
    twice = await deliver(desk, trade, escrow_id, file_id, file_id)
    assert problem(twice) == (409, "evidence-attached")
    assert await desk.status(escrow_id) == "FUNDS_HELD"
    assert await states(desk) == [("READY", False), ("READY", False)]
    assert await desk.database.rows("SELECT FROM deliveries") == []

    assert (await deliver(desk, trade, escrow_id, file_id)).status_code == 200
    opened = await dispute(desk, trade.buyer_id, escrow_id)
    again = await say(desk, trade.seller_id, opened, file_id)
    assert problem(again) == (409, "evidence-attached")
    assert await desk.database.rows("SELECT FROM dispute_evidence") == []
    for change in ("UPDATE evidence_files SET file_name = 'x'", "DELETE FROM evidence_files"):
        with pytest.raises(Exception, match="append-only"):
            await desk.database.rows(f"{change} WHERE delivery_id IS NOT NULL")


async def test_two_statements_at_once_attach_a_file_to_one(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.delivered(trade)
    opened = await dispute(desk, trade.buyer_id, escrow_id)
    file = await desk.evidence(trade.buyer_id, escrow_id, TEXT)
    answers = await asyncio.gather(
        *(say(desk, trade.buyer_id, opened, file["id"]) for _ in range(4))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert len(await desk.database.rows("SELECT FROM dispute_evidence")) == 1


async def test_nothing_is_added_to_a_dispute_that_is_over(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.delivered(trade)
    opened = await dispute(desk, trade.buyer_id, escrow_id)
    file = await desk.evidence(trade.buyer_id, escrow_id, TEXT)
    place = f"/v1/escrows/{escrow_id}/disputes/{opened['id']}/withdraw"
    for side in (trade.buyer_id, trade.seller_id):
        assert (await desk.post(side, place)).status_code == 200
    late = await say(desk, trade.buyer_id, opened, file["id"])
    assert problem(late) == (409, "dispute-over")
    assert await states(desk) == [("READY", False)]


async def test_a_side_attaches_ten_files_at_most(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.delivered(trade)
    opened = await dispute(desk, trade.buyer_id, escrow_id)
    await desk.database.rows(
        "INSERT INTO evidence_files (id, escrow_id, uploader_id, file_name, content_type, size,"
        " status, sha256, created_at, updated_at)"
        " SELECT gen_random_uuid(), $1, $2, 'proof', 'text/plain', 1, 'READY', repeat('a', 64),"
        " clock(), clock() FROM generate_series(1, 11)",
        escrow_id,
        trade.buyer_id,
    )
    ids = [str(row["id"]) for row in await desk.database.rows("SELECT id FROM evidence_files")]
    answer = await say(desk, trade.buyer_id, opened, *ids)
    assert (answer.status_code, "evidence_ids" in answer.text) == (422, True)
    assert (await say(desk, trade.buyer_id, opened, *ids[:10])).status_code == 200
    one_more = await say(desk, trade.buyer_id, opened, ids[10])
    assert problem(one_more) == (409, "too-many-files")
    assert [is_attached for _, is_attached in await states(desk)].count(True) == 10


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"content_type": "image/svg+xml"}, "content_type"),
        ({"content_type": "text/html"}, "content_type"),
        ({"size": 10 * 1024 * 1024 + 1}, "size"),
        ({"size": 0}, "size"),
        ({"file_name": "../../clean/x"}, "file_name"),
        ({"file_name": "..\\x"}, "file_name"),
        ({"file_name": ".."}, "file_name"),
        ({"file_name": "a\r\nSet-Cookie: b"}, "file_name"),
        ({"file_name": "photo\u202egpj.exe"}, "file_name"),
        ({"key": "clean/x"}, "key"),
    ],
)
async def test_only_plain_names_and_known_types_and_sizes_are_announced(
    desk: "Desk", trade: "Trade", said: dict[str, Any], field: str
) -> None:
    answer = await desk.announce(trade.seller_id, uuid4(), TEXT, "text/plain", **said)
    assert answer.status_code == 422
    assert field in answer.text
    assert await states(desk) == []


async def test_only_the_sides_upload_and_only_while_the_trade_is_open(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await desk.open(trade)
    early = await desk.announce(trade.seller_id, escrow_id, TEXT, "text/plain")
    assert problem(early) == (409, "evidence-closed")
    assert early.json()["state"] == "AWAIT_FUNDS"
    stranger = await desk.announce(uuid4(), escrow_id, TEXT, "text/plain")
    assert problem(stranger) == (404, "escrow-not-found")
    headers = desk.issuer.authorization(uuid4(), roles=["moderator"])
    staff = await desk.http.post(
        f"/v1/escrows/{escrow_id}/evidence",
        json={"file_name": "a", "content_type": "text/plain", "size": 1},
        headers=headers | {"Idempotency-Key": uuid4().hex},
    )
    assert problem(staff) == (403, "not-your-move")
    assert await states(desk) == []


async def test_only_the_uploader_completes_and_sees_an_upload(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.funded(trade)
    announced = await desk.announce(trade.seller_id, escrow_id, TEXT, "text/plain")
    path = f"/v1/escrows/{escrow_id}/evidence/{announced.json()['file']['id']}"
    for other in (trade.buyer_id, uuid4()):
        assert (await desk.post(other, f"{path}/complete")).status_code == 404
        assert (await desk.get(other, path)).status_code == 404
    assert (await desk.get(trade.buyer_id, f"/v1/escrows/{escrow_id}/evidence")).json() == []
    elsewhere = f"/v1/escrows/{uuid4()}/evidence/{announced.json()['file']['id']}"
    assert (await desk.get(trade.seller_id, elsewhere)).status_code == 404
    assert await states(desk) == [("PENDING", False)]
    assert (await desk.post(trade.seller_id, f"{path}/complete")).status_code == 200
    again = await desk.post(trade.seller_id, f"{path}/complete")
    assert (again.status_code, again.json()["state"]) == (409, "CHECKING")


async def test_too_many_uploads_are_turned_away_for_a_while(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.funded(trade)
    await desk.database.rows(
        "INSERT INTO rate_limits (bucket, window_ends_at, hits)"
        " VALUES ($1, clock() + interval '90 s', 40)",
        f"evidence:{trade.seller_id}",
    )
    refused = await desk.announce(trade.seller_id, escrow_id, TEXT, "text/plain")
    assert refused.status_code == 429
    assert 80 <= int(refused.headers["Retry-After"]) <= 90
    assert await states(desk) == []
    assert (await desk.announce(trade.buyer_id, escrow_id, TEXT, "text/plain")).status_code == 200


@pytest.mark.parametrize(
    ("file", "content_type", "reason"),
    [
        (b"<svg onload='alert(1)'/>", "image/png", "It is not a PNG image that can be read."),
        (b"MZ\x90\0", "application/pdf", "It is not a PDF from its first byte to its last."),
    ],
)
async def test_a_file_that_is_not_what_it_says_is_refused_and_deleted(
    desk: "Desk", trade: "Trade", file: bytes, content_type: str, reason: str
) -> None:
    escrow_id = await desk.funded(trade)
    refused = await desk.evidence(trade.seller_id, escrow_id, file, content_type)
    assert (refused["status"], refused["reason"]) == ("REFUSED", reason)
    assert problem(await download(desk, trade.seller_id, refused)) == (409, "evidence-not-ready")
    assert problem(await deliver(desk, trade, escrow_id, refused["id"])) == (
        409,
        "evidence-not-ready",
    )
    assert await desk.storage.read(f"incoming/{escrow_id}/{refused['id']}", 100) is None


async def test_completing_without_an_upload_is_refused(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.funded(trade)
    file = (await desk.announce(trade.seller_id, escrow_id, TEXT, "text/plain")).json()["file"]
    path = f"/v1/escrows/{escrow_id}/evidence/{file['id']}"
    await desk.post(trade.seller_id, f"{path}/complete")
    await desk.work()
    shown = (await desk.get(trade.seller_id, path)).json()
    assert (shown["status"], shown["reason"]) == ("REFUSED", "Nothing was uploaded.")


async def test_what_nobody_uses_is_deleted(desk: "Desk", trade: "Trade", clock: "Clock") -> None:
    escrow_id = await desk.funded(trade)
    left = await desk.evidence(trade.seller_id, escrow_id, TEXT)
    announced = (await desk.announce(trade.seller_id, escrow_id, TEXT, "text/plain")).json()
    await desk.send(announced["upload"], TEXT)
    await clock.advance(timedelta(minutes=11))
    await desk.work()
    assert await states(desk) == [("READY", False), ("PENDING", False)]
    abandoned = announced["file"]["id"]
    assert await desk.storage.read(f"incoming/{escrow_id}/{abandoned}", 100) is None

    await clock.advance(timedelta(days=1, minutes=1))
    await desk.work()
    assert await states(desk) == [("EXPIRED", False), ("EXPIRED", False)]
    key = f"clean/{escrow_id}/{left['id']}/{left['sha256']}"
    assert await desk.storage.read(key, 100) is None
    late = await deliver(desk, trade, escrow_id, left["id"])
    assert problem(late) == (409, "evidence-not-ready")


async def test_what_is_attached_stays(desk: "Desk", trade: "Trade", clock: "Clock") -> None:
    escrow_id = await desk.funded(trade)
    file = await desk.evidence(trade.seller_id, escrow_id, TEXT)
    await deliver(desk, trade, escrow_id, file["id"])
    await clock.advance(timedelta(days=2))
    await desk.work()
    assert await states(desk) == [("READY", True)]
    key = f"clean/{escrow_id}/{file['id']}/{file['sha256']}"
    assert await desk.storage.read(key, 100) == TEXT


async def test_an_upload_form_is_for_one_key_type_and_size(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.funded(trade)
    announced = (await desk.announce(trade.seller_id, escrow_id, TEXT, "text/plain")).json()
    form, key = announced["upload"], f"incoming/{escrow_id}/{announced['file']['id']}"
    assert form["fields"]["key"] == key
    lasts = datetime.fromisoformat(form["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=4) < lasts <= timedelta(minutes=5)
    for changed in (
        {"key": f"clean/{escrow_id}/x"},
        {"Content-Type": "text/html"},
        {"acl": "public-read"},
        {"x-amz-signature": "0" * 64},
    ):
        assert (await desk.send(form, TEXT, **changed)).status_code == 403, changed
    climbing = await desk.send(form, TEXT, key=f"{key}/../../../clean/{escrow_id}/x")
    assert climbing.status_code == 400
    for wrong in (TEXT + b"!", TEXT[1:], b""):
        assert (await desk.send(form, wrong)).status_code == 400
    async with httpx.AsyncClient() as anybody:
        bare = await anybody.post(form["url"], data={"key": key}, files={"file": TEXT})
        put = await anybody.put(f"{form['url']}/{key}", content=TEXT)
    assert (bare.status_code, put.status_code) == (400, 403)
    assert await desk.storage.read(key, 100) is None
    assert await desk.storage.read(f"clean/{escrow_id}/x", 100) is None


async def test_addresses_open_one_object_and_expire(
    desk: "Desk", monkeypatch: pytest.MonkeyPatch
) -> None:
    key = f"clean/{uuid4()}/a"
    await desk.storage.put_once(key, TEXT, "text/plain")
    await desk.storage.put_once(key, b"other", "text/plain")
    url = desk.storage.download_url(key, "application/octet-stream", "a.txt")
    assert "X-Amz-Expires=300" in url
    monkeypatch.setattr("escrow.evidence.storage.PRESIGNED_SECONDS", -10)
    place, fields = desk.storage.upload_form(key, "text/plain", len(TEXT))
    late = await desk.send({"url": place, "fields": fields}, TEXT)
    assert late.status_code == 403
    assert "expired" in late.text
    async with httpx.AsyncClient() as anybody:
        assert (await anybody.get(url)).content == TEXT
        changed = (
            url.replace("/a?", "/b?"),
            url.partition("?")[0],
            url.replace("octet-stream", "html"),
        )
        for other in changed:
            assert (await anybody.get(other)).status_code == 403


async def test_escrow_and_contracts_keep_their_hands_off_each_others_objects(
    desk: "Desk", postgres_server: "Stack"
) -> None:
    logins = {name: postgres_server.s3(name) for name in ("escrow", "contracts")}
    if logins["escrow"] == logins["contracts"]:
        pytest.skip("This S3 has one login for all.")
    escrow, contracts = (boto3.client("s3", **login) for login in logins.values())
    key = f"clean/{uuid4()}/a"
    await desk.storage.put_once(key, TEXT, "text/plain")
    for refused in (
        lambda: escrow.put_object(Bucket="contracts", Key="contracts/x", Body=b""),
        lambda: escrow.delete_object(Bucket="contracts", Key="contracts/x"),
        lambda: escrow.put_bucket_acl(Bucket="evidence", ACL="public-read"),
        lambda: escrow.list_objects_v2(Bucket="evidence"),
        lambda: escrow.create_bucket(Bucket="mine"),
        lambda: contracts.get_object(Bucket="evidence", Key=key),
        lambda: contracts.list_objects_v2(Bucket="evidence"),
        lambda: contracts.put_object(Bucket="evidence", Key=key, Body=b""),
        lambda: contracts.delete_object(Bucket="evidence", Key=key),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            await asyncio.to_thread(refused)
    assert await desk.storage.read(key, 100) == TEXT
