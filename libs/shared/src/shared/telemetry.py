"""One JSON line per log event and one trace from the HTTP request to the last consumer."""

import contextlib
import json
import logging
import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any, cast
from urllib.parse import unquote, urlsplit
from uuid import UUID

import structlog
from opentelemetry import context, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.settings import ServiceSettings

correlation_id: ContextVar[str | None] = ContextVar("correlation_id", default=None)
"""What belongs together for people: the trade's root offer, else the request."""

RATE_LIMITED = ("aiokafka", "asyncio", "faststream", "shared.consumers")
REPEAT_SECONDS = 30
REMEMBERED_MESSAGES = 1000

_TRACE_CONTEXT = TraceContextTextMapPropagator()
_tracer = trace.get_tracer("bloxtr8")


def get_logger() -> structlog.stdlib.BoundLogger:
    return cast("structlog.stdlib.BoundLogger", structlog.get_logger())


def configure(settings: ServiceSettings, process: str) -> None:
    """Set up logs and traces of this process; `process` is `api` or `worker`."""
    service = settings.service
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_identity(service, process),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[settings.log_level]
        ),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(NowAndThen(RATE_LIMITED, REPEAT_SECONDS))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _without_secrets(settings),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=settings.log_level, force=True)
    for name in (*RATE_LIMITED, "alembic", "botocore", "httpx", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.ERROR)
    sys.excepthook = _log_crash
    _configure_traces(settings, service, process)


class NowAndThen(logging.Filter):
    """Lets the same message of these loggers through once in so many seconds: a broker that is
    down makes its client say so thirty times a second.
    """

    def __init__(self, loggers: tuple[str, ...], seconds: float) -> None:
        super().__init__()
        self._loggers = loggers
        self._seconds = seconds
        self._said_at: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith(self._loggers):
            return True
        # By template where there is one: node numbers and addresses make no new message.
        what, now = (record.name, str(record.msg)[:80]), time.monotonic()
        if now - self._said_at.get(what, -math.inf) < self._seconds:
            return False
        if len(self._said_at) >= REMEMBERED_MESSAGES:
            self._said_at.clear()
        self._said_at[what] = now
        return True


def _log_crash(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
    else:
        get_logger().critical("process.crashed", exc_info=error)


def _without_secrets(settings: ServiceSettings) -> Any:
    """The last step: JSON, and no secret in it whoever wrote the message."""
    render = structlog.processors.JSONRenderer()
    held = settings.secrets()
    password = urlsplit(held.pop("database_url")).password or ""
    parts = {part for secret in (*held.values(), password) for part in secret.split(",")}
    parts.add(unquote(password))
    hidden = sorted((json.dumps(part)[1:-1] for part in parts if len(part) >= 6), key=len)

    def write(logger: Any, method: str, event: dict[str, Any]) -> str:
        text = str(render(logger, method, event))
        for secret in reversed(hidden):
            text = text.replace(secret, "[secret]")
        return text

    return write


def _configure_traces(settings: ServiceSettings, service: str, process: str) -> None:
    provider = TracerProvider(
        resource=Resource.create({"service.name": f"{service}.{process}"}),
        # Without somebody to send spans to only their ids count, for logs and events.
        sampler=ALWAYS_ON if settings.otlp_endpoint else ALWAYS_OFF,
        shutdown_on_exit=True,
    )
    if settings.otlp_endpoint:
        # Imported on demand: the exporter costs memory that an idle process need not pay.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        exporter = OTLPSpanExporter(endpoint=f"{settings.otlp_endpoint}/v1/traces")
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=500))
    trace.set_tracer_provider(provider)


def _add_identity(service: str, process: str) -> Any:
    def add(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        event["service"], event["process"] = service, process
        if correlation_id.get():
            event["correlation_id"] = correlation_id.get()
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            event["trace_id"] = trace.format_trace_id(span.trace_id)
        return event

    return add


def current_traceparent() -> str | None:
    """The W3C header of the span we are in."""
    carrier: dict[str, str] = {}
    _TRACE_CONTEXT.inject(carrier)
    return carrier.get("traceparent")


def carry() -> dict[str, str]:
    """What a job keeps so that its work continues this trace."""
    kept = {"traceparent": current_traceparent(), "correlation_id": correlation_id.get()}
    return {name: value for name, value in kept.items() if value}


@contextlib.contextmanager
def continue_from(headers: Mapping[str, str], name: str) -> Iterator[trace.Span]:
    """A span that continues the trace these headers carry, with their correlation id bound."""
    token = context.attach(_TRACE_CONTEXT.extract(dict(headers), context=context.Context()))
    bound = correlation_id.set(headers.get("correlation_id") or correlation_id.get())
    try:
        with _tracer.start_as_current_span(name) as span:
            yield span
    finally:
        correlation_id.reset(bound)
        context.detach(token)


def bind_trade(root_offer_id: UUID) -> None:
    """From here on logs and jobs of this request belong to that trade."""
    correlation_id.set(str(root_offer_id))
