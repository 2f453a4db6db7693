"""`make check` refuses what the architecture forbids: each violation is planted and found."""

import subprocess
from pathlib import Path

import pytest
from tests.gate.conftest import Copy

Result = subprocess.CompletedProcess[str]


def broken(result: Result) -> list[str]:
    """The names of the import contracts that do not hold."""
    assert "Could not" not in result.stdout + result.stderr, result.stdout + result.stderr
    lines = result.stdout.splitlines()
    return [line.removesuffix(" BROKEN") for line in lines if line.endswith(" BROKEN")]


def test_the_tree_as_it_is_passes(copy: Copy) -> None:
    assert (copy.lint_imports().returncode, broken(copy.lint_imports())) == (0, [])
    assert copy.check_code().returncode == 0
    assert copy.events("check").returncode == 0


PLANTED = {
    "a service imports another": (
        ("listings", "planted", "import escrow"),
        "A service never imports another",
    ),
    "a service imports another's deep module inside a function": (
        ("escrow", "planted", "def f() -> None:\n    from contracts import models"),
        "A service never imports another",
    ),
    "lifecycle imports SQLAlchemy": (
        ("escrow", "lifecycle", "import sqlalchemy"),
        "Rules do no I/O",
    ),
    "lifecycle reads the clock": (("listings", "lifecycle", "import time"), "Rules do no I/O"),
    "lifecycle reaches the database through the shared library": (
        ("contracts", "lifecycle", "from shared import outbox"),
        "Rules do no I/O",
    ),
    "postings call the provider": (("escrow", "postings", "import stripe"), "Rules do no I/O"),
    "a use case knows FastAPI": (
        ("identity", "use_cases", "from fastapi import HTTPException"),
        "Use cases know neither HTTP nor Kafka",
    ),
    "a use case knows Kafka": (
        ("contracts", "use_cases", "from faststream.kafka import KafkaBroker"),
        "Use cases know neither HTTP nor Kafka",
    ),
    "a use case pages like HTTP": (
        ("listings", "use_cases", "from shared import web"),
        "Use cases know neither HTTP nor Kafka",
    ),
    "a repository calls its route": (
        ("listings", "repository", "from listings import routes"),
        "Calls go one way inside a service",
    ),
    "a route calls a subscriber": (
        ("listings", "routes", "from listings import subscribers"),
        "Calls go one way inside a service",
    ),
    "a service knows the local stack": (
        ("identity", "planted", "import bloxtr8"),
        "Services know neither the local stack nor the simulators",
    ),
}


@pytest.mark.parametrize(("planted", "contract"), PLANTED.values(), ids=PLANTED)
def test_a_forbidden_import_is_found(
    copy: Copy, planted: tuple[str, str, str], contract: str
) -> None:
    service, module, line = planted
    for other in ("routes", "subscribers", "models"):
        for name in (service, "contracts"):
            path = copy.module(name, other)
            if not path.exists():
                path.write_text("")
    copy.append(copy.module(service, module), line)
    result = copy.lint_imports()
    assert result.returncode == 1
    assert contract in broken(result), result.stdout


def test_the_shared_library_may_not_know_a_service(copy: Copy) -> None:
    copy.append(copy.root / "libs/shared/src/shared/money.py", "import escrow")
    result = copy.lint_imports()
    assert result.returncode == 1
    assert "The shared library knows no service" in broken(result)


@pytest.mark.parametrize(
    "call",
    [
        'broker.subscriber("escrow.funded")',
        'broker.subscriber("escrow.funded", ack_policy=AckPolicy.ACK_FIRST)',
        'broker.subscriber("escrow.funded", ack_policy=AckPolicy.REJECT_ON_ERROR)',
        'broker.subscriber("escrow.funded", ack_policy=policy)',
        'broker.subscriber("escrow.funded", **options)',
        'KafkaRouter().subscriber("escrow.funded", group_id="escrow")',
    ],
)
def test_a_subscriber_that_could_lose_a_message_is_found(copy: Copy, call: str) -> None:
    copy.append(copy.module("escrow", "planted"), f"facts = {call}")
    result = copy.check_code()
    assert result.returncode == 1
    assert result.stderr.strip() == (
        "services/escrow/src/escrow/planted.py:2: subscriber without AckPolicy.NACK_ON_ERROR"
    )


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("ok = signature == expected", "signature"),
        ("ok = expected != request.client_secret", "client_secret"),
        ('ok = body["token"] == expected', "token"),
        ("ok = given.access_token() in {expected}", "access_token"),
    ],
)
def test_a_secret_compared_by_its_bytes_is_found(copy: Copy, line: str, name: str) -> None:
    copy.append(copy.module("escrow", "planted"), line)
    result = copy.check_code()
    assert result.returncode == 1
    assert result.stderr.startswith(f"services/escrow/src/escrow/planted.py:2: {name} compared by")
    assert result.stderr.strip().endswith("use compare_digest")


@pytest.mark.parametrize(
    "line",
    ["ok = compare_digest(signature, expected)", 'ok = token == ""', "ok = secret is None"],
)
def test_what_tells_nothing_of_a_secret_passes(copy: Copy, line: str) -> None:
    copy.append(copy.module("escrow", "planted"), line)
    assert copy.check_code().returncode == 0


EVENTS = Path("libs/shared/src/shared/events")


def rewrite(copy: Copy, name: str, old: str, new: str) -> None:
    path = copy.root / EVENTS / name
    text = path.read_text()
    assert text.count(old) == 1, f"{old!r} in {name}"
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("    valid_until: datetime\n", "", "asset.verified: valid_until is gone"),
        (
            "    valid_until: datetime\n",
            "    valid_until: str\n",
            "asset.verified: an old reader refuses what a new writer says: valid_until",
        ),
        (
            "    valid_until: datetime\n",
            "    valid_until: datetime | None = None\n",
            "asset.verified: an old reader refuses what a new writer says: valid_until",
        ),
        (
            "    valid_until: datetime\n",
            "    valid_until: datetime\n    region: str\n",
            "asset.verified: a new reader refuses what an old writer says: region",
        ),
        (
            '    topic: ClassVar[str] = "asset.verified"\n',
            '    topic: ClassVar[str] = "asset.proved"\n',
            "asset.verified: docs/events has this event, the code no longer does",
        ),
    ],
    ids=["removed", "retyped", "made optional", "required field added", "event removed"],
)
def test_an_event_that_breaks_its_readers_or_writers_is_found(
    copy: Copy, old: str, new: str, said: str
) -> None:
    rewrite(copy, "identity.py", old, new)
    result = copy.events("check")
    assert result.returncode == 1
    assert said in result.stderr
    assert "A change that breaks readers or writers is a new topic" in result.stderr


def test_a_breaking_change_is_not_accepted_by_command(copy: Copy) -> None:
    rewrite(copy, "identity.py", "    valid_until: datetime\n", "")
    before = (copy.root / "docs/events/asset.verified.json").read_text()
    assert copy.events("accept").returncode == 1
    assert (copy.root / "docs/events/asset.verified.json").read_text() == before


def test_a_field_of_a_part_is_guarded_in_every_event_that_carries_it(copy: Copy) -> None:
    rewrite(copy, "cards.py", "    fee_basis_points: int\n", "")
    result = copy.events("check")
    assert result.returncode == 1
    for event in ("offer.accepted", "contract.executed"):
        assert f"{event}: deal.terms.fee_basis_points is gone" in result.stderr


def test_a_new_enum_value_would_stop_old_readers(copy: Copy) -> None:
    rewrite(copy, "cards.py", '    MANUAL = "MANUAL"\n', '    MANUAL = "MANUAL"\n    X = "X"\n')
    result = copy.events("check")
    assert result.returncode == 1
    assert "asset.verified: an old reader refuses what a new writer says: method" in result.stderr


def test_an_optional_field_may_be_added_and_is_accepted_by_command(copy: Copy) -> None:
    rewrite(
        copy,
        "identity.py",
        "    valid_until: datetime\n",
        "    valid_until: datetime\n    region: str | None = None\n",
    )
    stale = copy.events("check")
    assert stale.returncode == 1
    assert stale.stderr.startswith("asset.verified: new or changed compatibly; accept it: ")
    assert copy.events("accept").returncode == 0
    assert copy.events("check").returncode == 0
    assert "`region`?" in (copy.root / "docs" / "events.md").read_text()
