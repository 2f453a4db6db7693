"""A commit takes effect and its answer is lost on the way (`cmd.commit_unknown`): whoever asked
does not know, asks again with the same key, and is told what happened the first time.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest
from pydantic import SecretStr
from services.contracts.tests.conftest import Office, make_deal

from contracts.api import create_app
from contracts.lifecycle import ContractStatus
from contracts.settings import Settings
from shared.database import Sessions, create_engine
from shared.testing.tokens import TestIssuer

_COMMITTED = b"C\x00\x00\x00\x0bCOMMIT\x00"
"""PostgreSQL's word that a commit is on its disk (`CommandComplete`)."""


class Line:
    """The way to the database, which can be cut as a commit is being confirmed."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self.loses_the_next_commit = False
        self.lost = 0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, both ways, until either end or the cut."""
        answers, questions = await asyncio.open_connection(*self._server)
        ways = [
            asyncio.create_task(self._carry(reader, questions)),
            asyncio.create_task(self._carry(answers, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for end in (writer, questions):
                end.close()

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while said := await source.read(65_536):
                if self.loses_the_next_commit and _COMMITTED in said:
                    self.loses_the_next_commit = False
                    self.lost += 1
                    return
                target.write(said)
                await target.drain()


@pytest.fixture
async def line(office: Office) -> AsyncIterator[tuple[Line, str]]:
    """To the test's database, and its address."""
    server = urlsplit(office.database.app_dsn)
    assert server.hostname
    assert server.port
    made = Line(server.hostname, server.port)
    async with await asyncio.start_server(made.carry, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        login = server.netloc.rpartition("@")[0]
        yield made, urlunsplit(server._replace(netloc=f"{login}@127.0.0.1:{port}"))


async def test_a_signature_whose_commit_is_not_confirmed_is_given_once(
    office: Office, settings: Settings, issuer: TestIssuer, line: tuple[Line, str]
) -> None:
    contract = await office.draw_up(make_deal())
    await office.sign(contract, contract.seller_id)
    wire, address = line
    reached = settings.model_copy(update={"database_url": SecretStr(address)})
    engine = create_engine(reached)
    app = create_app(reached, Sessions(engine), issuer.key_source())
    path = f"/v1/contracts/{contract.id}/sign"
    body = {"document_sha256": contract.sha256, "consent": True}
    headers = {**issuer.authorization(contract.buyer_id), "Idempotency-Key": "once"}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://contracts") as http:
        wire.loses_the_next_commit = True
        unknown = await http.post(path, json=body, headers=headers)
        assert (unknown.status_code, wire.lost) == (503, 1)
        assert (await office.read(contract.id)).status is ContractStatus.EXECUTING
        again = await http.post(path, json=body, headers=headers)
        other = await http.post(path, json=body, headers=headers | {"Idempotency-Key": "other"})
    await engine.dispose()
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert (other.status_code, other.json()["type"].endswith("/already-signed")) == (409, True)
    assert again.json()["status"] == "EXECUTING"
    assert [given["user_id"] for given in again.json()["signatures"]] == [
        str(contract.seller_id),
        str(contract.buyer_id),
    ]
    for table in (
        "signatures WHERE user_id = $1",
        "audit_logs WHERE user_id = $1 AND action = 'contract.signed'",
    ):
        assert len(await office.database.rows(f"SELECT id FROM {table}", contract.buyer_id)) == 1
    assert len(await office.events("contract.signed", contract.id)) == 1
    assert (await office.read(contract.id)).version == 3
