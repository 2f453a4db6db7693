"""The relay's idempotent producer, and how to be rid of it when its broker is gone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from shared import kafka
from shared.settings import ServiceSettings

BATCH_BYTES = 128 * 1024
STOP_WITHIN_SECONDS = 5


@contextlib.asynccontextmanager
async def kafka_producer(settings: ServiceSettings) -> AsyncIterator[AIOKafkaProducer]:
    """A started producer; whatever state it is in, leaving takes bounded time."""
    secured = kafka.security(settings)
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers.split(","),
        client_id=f"{settings.kafka_username}.relay",
        security_protocol="SASL_SSL" if settings.kafka_use_ssl else "SASL_PLAINTEXT",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_plain_username=secured.username,
        sasl_plain_password=secured.password,
        ssl_context=secured.ssl_context,
        enable_idempotence=True,
        acks="all",
        linger_ms=0,
        max_batch_size=BATCH_BYTES,
    )
    try:
        await producer.start()
        yield producer
    finally:
        await _discard(producer)


async def _discard(producer: AIOKafkaProducer) -> None:
    """Stop it, by force if need be: without its broker an idempotent producer flushes for ever."""
    with contextlib.suppress(Exception):
        try:
            await asyncio.wait_for(producer.stop(), STOP_WITHIN_SECONDS)
        except TimeoutError:
            # No public call ends the sender and its batches, which would pile up in memory.
            producer._message_accumulator.fail_all(KafkaError())  # noqa: SLF001
            await asyncio.wait_for(producer._sender.close(), STOP_WITHIN_SECONDS)  # noqa: SLF001
            await asyncio.wait_for(producer.client.close(), STOP_WITHIN_SECONDS)
