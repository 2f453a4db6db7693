"""The gateway routes, limits and cleans; what it cannot serve it says as a problem."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from uuid import UUID

import httpx
import pytest

from shared.testing import Stack, free_port

CADDYFILE = Path(__file__).parents[2] / "deploy" / "caddy" / "Caddyfile"
PROBLEM = "application/problem+json"
MIB = 1024 * 1024


class Service(BaseHTTPRequestHandler):
    """Answers with what it received; three paths misbehave."""

    protocol_version = "HTTP/1.1"
    released = Event()

    def do_GET(self) -> None:
        received = self.receive()
        status = 200
        if self.path == "/v1/me/slow":
            self.released.wait(10)
        elif self.path == "/v1/me/cut":
            self.close_connection = True
            return
        elif self.path == "/v1/me/unavailable":
            status = 503
        seen = {
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "bytes": received,
        }
        answer = json.dumps(seen).encode()
        self.send_response(status)
        self.send_header("Content-Type", PROBLEM if status == 503 else "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def receive(self) -> int:
        """Read the body, whole or in chunks; returns its bytes."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return len(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        total = 0
        while size := int(self.rfile.readline() or b"0", 16):
            total += len(self.rfile.read(size))
            self.rfile.readline()
        return total

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Requests are not worth a line of test output."""


class Upstream(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A connection cut in mid-request is what some tests are about."""


@contextmanager
def caddy(folder: Path, port: int, upstream: int) -> Iterator[None]:
    environment = {
        **os.environ,
        "GATEWAY_ADDRESS": f"http://:{port}",
        "GATEWAY_BIND": "127.0.0.1",
        "GATEWAY_STORAGE": str(folder / "caddy"),
        "GATEWAY_ANSWER_WITHIN": "1s",
        "IDENTITY_API": f"127.0.0.1:{upstream}",
        "LISTINGS_API": f"127.0.0.1:{upstream}",
        "CONTRACTS_API": f"127.0.0.1:{upstream}",
        "ESCROW_API": f"127.0.0.1:{free_port()}",
    }
    program = Path(sys.executable).parent / "caddy"
    command = [str(program), "run", "--adapter", "caddyfile", "--config", str(CADDYFILE)]
    log = folder / "caddy.log"
    with (
        log.open("wb") as said,
        subprocess.Popen(command, env=environment, stdout=said, stderr=said) as process,
    ):
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.02)
        try:
            yield
        finally:
            process.send_signal(signal.SIGKILL)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The gateway in front of one such service; escrow's address has no server."""
    port = free_port()
    server = Upstream(("127.0.0.1", 0), Service)
    Thread(target=server.serve_forever, daemon=True).start()
    folder = tmp_path_factory.mktemp("gateway")
    with (
        caddy(folder, port, server.server_port),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client,
    ):
        yield client
    Service.released.set()
    server.shutdown()
    server.server_close()


def assert_is_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == PROBLEM
    body = answer.json()
    assert set(body) == {"type", "title", "status", "detail", "instance"}
    assert body["type"] == f"https://bloxtr8.dev/problems/{code}"
    assert body["status"] == status
    assert body["instance"] == f"urn:uuid:{answer.headers['x-request-id']}"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "server" not in answer.headers
    assert "via" not in answer.headers


SPOOFED = {
    "X-Request-Id": "chosen-by-the-client",
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "1",
    "X-Forwarded-Prefix": "/evil",
    "X-Real-Ip": "203.0.113.9",
    "Forwarded": "for=203.0.113.9;host=evil.example",
    "X-User-Id": "00000000-0000-0000-0000-000000000000",
    "X-User-Roles": "admin",
}


def test_headers_that_only_the_gateway_may_set_are_replaced(gateway: httpx.Client) -> None:
    seen = gateway.get("/v1/me", headers=SPOOFED).json()["headers"]
    assert UUID(seen["x-request-id"]).version == 4
    assert seen["x-forwarded-for"] == "127.0.0.1"
    assert seen["x-forwarded-proto"] == "http"
    kept = {name.lower() for name in SPOOFED} & set(seen)
    assert kept == {"x-request-id", "x-forwarded-for", "x-forwarded-proto"}


def test_what_belongs_to_the_client_passes(gateway: httpx.Client) -> None:
    own = {"Authorization": "Bearer t", "Idempotency-Key": "k", "If-Match": "3", "traceparent": "p"}
    seen = gateway.post("/v1/offers", headers=own, content=b"{}").json()
    assert {name.lower(): value for name, value in own.items()}.items() <= seen["headers"].items()
    assert seen["bytes"] == 2


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/auth/discord/start", "/v1/me", "/v1/users/1", "/v1/sessions", "/v1/sessions/1"),
        *("/v1/games", "/v1/verifications/1", "/v1/identity/openapi.json"),
        *("/.well-known/jwks.json", "/v1/listings?limit=1", "/v1/offers/1/accept"),
        *("/v1/listings/openapi.json", "/v1/contracts/1/sign", "/v1/contracts/openapi.json"),
        *("/v1/contract-templates", "/v1/contract-templates/1.0.0/preview"),
    ],
)
def test_a_served_path_arrives_as_it_was_sent(gateway: httpx.Client, path: str) -> None:
    assert gateway.get(path).json()["path"] == path


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/v1", "/v2/me", "/v1/meow", "/v1/listingsx", "/v1/webhooks/other", "/v1/webhooks"),
        *("/metrics", "/health/ready", "/health/live", "/docs", "/openapi.json", "/_sim/reset"),
        *("/stripe/v1/charges", '/v1/%22,"status":200', "/.well-known/openid-configuration"),
    ],
)
def test_anything_else_is_not_found(gateway: httpx.Client, path: str) -> None:
    assert_is_problem(gateway.get(path), 404, "not-found")


def test_a_body_of_one_mib_passes(gateway: httpx.Client) -> None:
    assert gateway.post("/v1/listings", content=b"x" * MIB).json()["bytes"] == MIB


def test_a_larger_body_is_refused(gateway: httpx.Client) -> None:
    answer = gateway.post("/v1/listings", content=b"x" * (MIB + 1))
    assert_is_problem(answer, 413, "content-too-large")


def test_a_contract_to_verify_may_have_ten_mib(gateway: httpx.Client) -> None:
    answer = gateway.post("/v1/contracts/verify", content=b"x" * (10 * MIB))
    assert answer.json()["bytes"] == 10 * MIB
    answer = gateway.post("/v1/contracts/verify", content=b"x" * (10 * MIB + 1))
    assert_is_problem(answer, 413, "content-too-large")


def test_a_larger_body_is_refused_when_it_comes_in_chunks(gateway: httpx.Client) -> None:
    chunks = (b"x" * 65536 for _ in range(17))
    answer = gateway.post("/v1/listings", content=chunks)
    assert_is_problem(answer, 413, "content-too-large")


@pytest.mark.parametrize("path", ["/v1/escrows", "/v1/escrow/openapi.json", "/v1/webhooks/stripe"])
def test_a_service_that_cannot_be_reached(gateway: httpx.Client, path: str) -> None:
    assert_is_problem(gateway.post(path), 502, "bad-gateway")


def test_a_service_that_hangs_up(gateway: httpx.Client) -> None:
    assert_is_problem(gateway.post("/v1/me/cut"), 502, "bad-gateway")


def test_a_service_that_takes_too_long(gateway: httpx.Client) -> None:
    assert_is_problem(gateway.get("/v1/me/slow"), 504, "gateway-timeout")


def test_a_services_own_refusal_passes_unchanged(gateway: httpx.Client) -> None:
    answer = gateway.get("/v1/me/unavailable")
    assert (answer.status_code, answer.headers["content-type"]) == (503, PROBLEM)
    assert answer.json()["path"] == "/v1/me/unavailable"


async def test_ops_endpoints_are_beside_the_gateway_not_behind_it(stack: Stack) -> None:
    process = "escrow.api"
    ops = f"http://127.0.0.1:{stack.ops_port(process)}"
    async with httpx.AsyncClient(timeout=10) as client:
        for path in ("/health/live", "/health/ready", "/metrics"):
            assert (await client.get(f"{ops}{path}")).status_code == 200
            answer = await client.get(f"{stack.gateway_url}{path}")
            assert_is_problem(answer, 404, "not-found")
            api = stack.env(process)["ESCROW_PORT"]
            direct = await client.get(f"http://127.0.0.1:{api}{path}")
            assert direct.status_code == 404
        for service in ("identity", "listings", "contracts", "escrow"):
            found = await client.get(f"{stack.gateway_url}/v1/{service}/openapi.json")
            assert found.status_code == 200
            assert UUID(found.headers["x-request-id"]).version == 4
