"""One trace leads from the last signature through the execution job to the handler in escrow."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bloxtr8.trade import Trade
from shared.testing import Stack, eventually

TRACED = ("contracts.api", "contracts.worker", "escrow.worker")


@dataclass(frozen=True)
class Seen:
    process: str
    name: str
    trace_id: str


class Collector(ThreadingHTTPServer):
    """Keeps in memory every span that is exported to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.spans: list[Seen] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Receiver(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            process = next(
                attribute.value.string_value
                for attribute in resource.resource.attributes
                if attribute.key == "service.name"
            )
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.server.spans.append(Seen(process, span.name, span.trace_id.hex()))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Requests are not worth a line of test output."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def traced(stack: Stack, collector: Collector, tmp_path: Path) -> Iterator[None]:
    """The three processes a signature passes through, exporting their spans."""
    with ExitStack() as running:
        stack.stop(*TRACED)
        running.callback(stack.start, *TRACED)
        for process in TRACED:
            variable = f"{process.partition('.')[0].upper()}_OTLP_ENDPOINT"
            log = running.enter_context((tmp_path / f"{process}.log").open("wb"))
            child = subprocess.Popen(
                stack.argv(process),
                env={**os.environ, **stack.env(process), variable: collector.endpoint},
                stdout=log,
                stderr=log,
            )
            running.callback(child.wait)
            running.callback(child.terminate)
        for process in TRACED:
            stack.wait_ready(process)
        yield


@pytest.mark.usefixtures("traced")
async def test_one_trace_from_the_last_signature_to_escrow(
    trade: Trade, collector: Collector
) -> None:
    await trade.go(trade.agreement, trade.execution)

    async def the_trace_is_whole() -> None:
        signatures = [
            span.trace_id
            for span in collector.spans
            if span.process == "contracts.api" and span.name.endswith("/sign")
        ]
        # One that is asked for before identity's fact has arrived is sent again.
        assert len(signatures) >= 2
        through = {
            (span.process, span.name) for span in collector.spans if span.trace_id == signatures[-1]
        }
        assert ("contracts.worker", "job contract_execution_jobs") in through
        assert ("contracts.worker", "contract.signed process") in through
        assert ("escrow.worker", "contract.executed process") in through

    await eventually(the_trace_is_whole, within_seconds=20)
