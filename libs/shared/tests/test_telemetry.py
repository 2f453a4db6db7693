"""What a process says: one JSON line an event, which trade and trace it was, and never a secret."""

import json
import logging
import subprocess
import sys

import pytest
from pydantic import SecretStr

from shared.telemetry import NowAndThen
from shared.testing.probe import ProbeSettings

PROGRAM = """
from shared import telemetry
from shared.testing.probe import ProbeSettings

settings = ProbeSettings()
telemetry.configure(settings, "worker")
log = telemetry.get_logger()
carried = {
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "correlation_id": "trade 1",
}
with telemetry.continue_from(carried, "work"):
    log.info("thing.done", thing="a")
log.debug("too quiet")
raise RuntimeError(f"cannot log in with {settings.kafka_password.get_secret_value()!r}"
                   " at postgresql://probe_app:dev-data$base@db/probe")
"""


def test_lines_are_json_with_trade_and_trace_and_a_crash_is_one_without_secrets() -> None:
    settings = ProbeSettings.model_validate(
        {
            "environment": "test",
            "database_url": "postgresql://probe_app:dev-data$base@127.0.0.1:9/none",
            "ops_port": 0,
            "public_url": "http://127.0.0.1",
            "jwt_issuer": "http://127.0.0.1",
            "jwks_url": "http://127.0.0.1/jwks.json",
            "kafka_password": SecretStr('dev-"quoted"'),
        }
    )
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=settings.environment_variables(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 1
    done, crash = map(json.loads, ended.stdout.splitlines())
    assert done.pop("timestamp").endswith("Z")
    assert done == {
        "event": "thing.done",
        "level": "info",
        "thing": "a",
        "service": "probe",
        "process": "worker",
        "correlation_id": "trade 1",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
    }
    assert (crash["event"], crash["level"]) == ("process.crashed", "critical")
    assert "RuntimeError: cannot log in with" in crash["exception"]
    assert "probe_app:[secret]@db" in crash["exception"]
    assert "quoted" not in ended.stdout + ended.stderr
    assert "dev-data" not in ended.stdout + ended.stderr


def test_a_client_that_repeats_itself_is_heard_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    once = NowAndThen(("aiokafka",), 30)

    def passes(logger: str, message: str) -> bool:
        return once.filter(logging.LogRecord(logger, logging.ERROR, "", 0, message, None, None))

    assert [passes("aiokafka.conn", "no %s") for _ in range(3)] == [True, False, False]
    assert passes("aiokafka.conn", "another")
    assert [passes("shared", "no %s") for _ in range(2)] == [True, True]
    now = 30.0
    assert passes("aiokafka.conn", "no %s")
