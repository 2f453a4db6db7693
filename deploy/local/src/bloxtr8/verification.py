"""Runs every invariant over all schemas, in one snapshot, as the auditor, who can only read.

An invariant is a query in deploy/postgres/invariants that finds the rows which break it.
"""

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from rich.console import Console
from rich.table import Table

from bloxtr8.home import ROOT

INVARIANTS = ROOT / "deploy" / "postgres" / "invariants"
SHOWN_ROWS = 20


@dataclass(frozen=True)
class Finding:
    """What one invariant has found."""

    name: str
    statement: str
    broken_by: list[dict[str, Any]] = field(default_factory=list)
    """The offending rows; none when it holds."""
    milliseconds: int = 0


@dataclass(frozen=True)
class Invariant:
    """One query file: its first line says in words what the query looks for."""

    file: Path

    @property
    def name(self) -> str:
        return self.file.stem

    @property
    def query(self) -> str:
        return self.file.read_text()

    @property
    def statement(self) -> str:
        return self.query.partition("\n")[0].removeprefix("-- ")

    async def check(self, connection: asyncpg.Connection) -> Finding:
        started = time.monotonic()
        rows = [_readable(row) for row in await connection.fetch(self.query)]
        took = round((time.monotonic() - started) * 1000)
        return Finding(self.name, self.statement, rows, took)


def invariants() -> list[Invariant]:
    return [Invariant(file) for file in sorted(INVARIANTS.glob("*.sql"))]


def _readable(row: asyncpg.Record) -> dict[str, Any]:
    plain = (int, float, str, type(None))
    return {name: value if isinstance(value, plain) else str(value) for name, value in row.items()}


async def run(auditor_url: str) -> list[Finding]:
    """Check all invariants on one snapshot of the database.

    Raises:
        OSError, asyncpg.PostgresError: the database cannot be asked.
    """
    connection = await asyncpg.connect(auditor_url, timeout=10)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return [await one.check(connection) for one in invariants()]
    finally:
        await connection.close()


def as_json(findings: list[Finding]) -> dict[str, Any]:
    broken = [finding.name for finding in findings if finding.broken_by]
    return {"broken": broken, "invariants": [asdict(finding) for finding in findings]}


def show(findings: list[Finding], out: Console) -> None:
    """A line for each invariant, and the rows that break one."""
    table = Table(box=None, pad_edge=False)
    table.add_column("invariant", no_wrap=True)
    table.add_column("says")
    table.add_column("ms", justify="right")
    table.add_column("broken by", justify="right", no_wrap=True)
    for finding in findings:
        rows = f"{len(finding.broken_by)} rows" if finding.broken_by else "-"
        table.add_row(finding.name, finding.statement, str(finding.milliseconds), rows)
    out.print(table)
    for finding in findings:
        for row in finding.broken_by[:SHOWN_ROWS]:
            shown = ", ".join(f"{name}={value}" for name, value in row.items())
            out.print(f"{finding.name}: {shown}", markup=False, highlight=False, soft_wrap=True)
        if (more := len(finding.broken_by) - SHOWN_ROWS) > 0:
            out.print(f"{finding.name}: and {more} more (all with --json)")
    broken = sum(1 for finding in findings if finding.broken_by)
    out.print(f"{len(findings)} invariants: " + (f"{broken} broken." if broken else "all hold."))
