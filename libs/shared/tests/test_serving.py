"""An api process: it comes up on two ports, keeps its promises on SIGTERM, and goes away."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import httpx

from shared.testing import free_port

PROGRAM = """
import asyncio
from fastapi import APIRouter
from pydantic_settings import SettingsConfigDict
from shared import web
from shared.database import Sessions, create_engine
from shared.settings import ServiceSettings

class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="SLOW_", frozen=True, extra="ignore")

router = APIRouter()

@router.get("/v1/slow")
async def slow() -> str:
    print("started", flush=True)
    await asyncio.sleep(1)
    return "done"

settings = Settings()
web.run(
    lambda: web.create_app(
        settings, "Slow", routers=[router], sessions=Sessions(create_engine(settings))
    ),
    settings,
)
"""


async def status(client: httpx.AsyncClient, url: str) -> int:
    """The first answer within 20 s; until then the process is still starting."""
    async with asyncio.timeout(20):
        while True:
            try:
                return (await client.get(url)).status_code
            except httpx.ConnectError:
                await asyncio.sleep(0.05)


async def test_sigterm_finishes_what_is_being_answered(tmp_path: Path) -> None:
    port, ops_port = free_port(), free_port()
    program = tmp_path / "slow.py"
    program.write_text(PROGRAM)
    own = {
        "SLOW_ENVIRONMENT": "test",
        "SLOW_DATABASE_URL": "postgresql://slow_app:x@127.0.0.1:9/none",
        "SLOW_PORT": str(port),
        "SLOW_OPS_PORT": str(ops_port),
        "SLOW_PUBLIC_URL": "http://127.0.0.1",
        "SLOW_JWT_ISSUER": "http://127.0.0.1",
        "SLOW_JWKS_URL": "http://127.0.0.1:9/jwks.json",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), env=os.environ | own, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with httpx.AsyncClient(timeout=10) as client:
            ops = f"http://127.0.0.1:{ops_port}"
            assert await status(client, f"{ops}/health/live") == 200
            # No database: not ready, but alive, and the API answers.
            assert await status(client, f"{ops}/health/ready") == 503
            assert await status(client, f"http://127.0.0.1:{port}/metrics") == 404
            slow = asyncio.create_task(client.get(f"http://127.0.0.1:{port}/v1/slow"))
            async with asyncio.timeout(10):
                while b"started" not in await process.stdout.readline():
                    pass
            process.send_signal(signal.SIGTERM)
            assert (await client.get(f"{ops}/health/live")).status_code == 200
            answer = await slow
            assert (answer.status_code, answer.json()) == (200, "done")
        assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
