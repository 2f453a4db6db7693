"""Staff manage templates from a shell, with their own token, and are told what to do instead."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from uuid import UUID

import pytest
from typer.testing import CliRunner, Result

from bloxtr8 import cli
from bloxtr8.errors import Misused
from contracts.api import create_app
from contracts.settings import Settings
from shared import health
from shared.testing import Database, eventually
from shared.testing.tokens import TestIssuer

PROGRAM = str(Path(sys.executable).parent / "bloxtr8")
ADMIN = UUID(int=7)
Run = Callable[..., Awaitable[Result]]


@pytest.fixture
async def run(database: Database, settings: Settings, issuer: TestIssuer) -> AsyncIterator[Run]:
    """The command, at an api of its own; what it kept is taken away."""
    app = create_app(settings, database.sessions, issuer.key_source())
    server = health.Server.of(app, "127.0.0.1", 0)
    serving = asyncio.create_task(server.serve())

    async def started() -> None:
        assert server.started

    await eventually(started)
    port = server.servers[0].sockets[0].getsockname()[1]

    async def run_command(
        *arguments: str, roles: tuple[str, ...] = ("admin",), token: str | None = None
    ) -> Result:
        if token is None:
            token = issuer.token(ADMIN, roles=list(roles))
        asked = ["templates", *arguments, "--url", f"http://127.0.0.1:{port}"]
        env = {"BLOXTR8_TOKEN": token}
        return await asyncio.to_thread(lambda: CliRunner().invoke(cli.app, asked, env=env))

    yield run_command
    server.should_exit = True
    await serving
    await database.rows("DELETE FROM contract_templates WHERE version <> '1.0.0'")
    await database.rows("UPDATE contract_templates SET is_active = true, deprecated_at = NULL")


async def test_an_admin_keeps_sees_chooses_and_ends_words(
    run: Run, database: Database, tmp_path: Path
) -> None:
    file, picture = tmp_path / "terms.json", tmp_path / "sample.pdf"
    [first] = json.loads((await run("list", "--json")).stdout.splitlines()[-1])
    words = {name: first[name] for name in ("name", "consent", "clauses")}
    file.write_text(json.dumps({**words, "version": "2.0.0"}))
    said = [
        await run(*arguments)
        for arguments in (
            ("create", str(file)),
            ("preview", "2.0.0", "--to", str(picture)),
            ("activate", "2.0.0"),
            ("deprecate", "1.0.0"),
            ("list",),
        )
    ]
    assert [(one.exit_code, one.exception) for one in said] == [(0, None)] * 5
    assert picture.read_bytes().startswith(b"%PDF-")
    table = said[-1].stdout.partition("version ")[2]  # the api's log lines stand before it
    rows = [line.split()[:2] for line in table.splitlines()[1:]]
    assert rows == [["2.0.0", "active"], ["1.0.0", "deprecated"]]
    audited = await database.rows(
        "SELECT action, user_id FROM audit_logs WHERE subject_type = 'contract_template'"
        " ORDER BY id"
    )
    assert [(row["action"].rpartition(".")[2], row["user_id"]) for row in audited] == [
        (action, ADMIN) for action in ("created", "activated", "deprecated")
    ]


async def test_what_is_refused_says_what_to_do(
    run: Run, database: Database, tmp_path: Path
) -> None:
    broken, unknown = tmp_path / "broken.json", tmp_path / "unknown.json"
    broken.write_text("{")
    clause = {"heading": "Sale", "text": "{colour}"}
    unknown.write_text(
        json.dumps({"name": "a", "version": "2.0.0", "consent": "b", "clauses": [clause]})
    )
    moderator = ("moderator",)
    for answer, remedy in (
        (await run("create", str(broken)), "is no JSON"),
        (await run("create", str(tmp_path / "none.json")), "Name a file of JSON."),
        (await run("create", str(unknown)), "clauses.0.text: "),
        (await run("activate", "9.9.9"), "There is no contract template 9.9.9."),
        (await run("deprecate", "1.0.0"), "Activate another first."),
        (await run("activate", "1.0.0", roles=moderator), "Use an admin's own token."),
        (await run("list", token="junk"), "Put a new access token into BLOXTR8_TOKEN"),
        (await run("list", token=" "), "BLOXTR8_TOKEN is not set."),
    ):
        assert isinstance(answer.exception, Misused)
        assert remedy in str(answer.exception)
    row = await database.one("SELECT count(*) AS rows FROM audit_logs")
    assert row["rows"] == 0


def test_a_misuse_exits_with_2() -> None:
    refused = subprocess.run(
        [PROGRAM, "templates", "list"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"BLOXTR8_TOKEN": ""},
    )
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "bloxtr8: BLOXTR8_TOKEN is not set. Put an access token into it.\n"
