"""One row locked, or its change written, in one plain statement, as SQLAlchemy would do it."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import asyncpg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.orm import (
    DeclarativeBase,
    InstanceState,
    Mapper,
    Session,
    make_transient_to_detached,
)
from sqlalchemy.orm.exc import StaleDataError

Row = TypeVar("Row", bound=DeclarativeBase)
Convert = Callable[[Any], Any] | None
_DIALECT = dialect()  # type: ignore[no-untyped-call]


async def lock(
    database: asyncpg.Connection, session: Session, kind: type[Row], identity: tuple[Any, ...]
) -> Row | None:
    """The row as it is now, locked until the commit; None when there is none.

    Args:
        database: the driver's connection, within the session's transaction.
        session: which knows the row from then on, and has no unflushed changes of it.
        kind: the mapped class.
        identity: the values of its primary key.
    """
    mapper = sa.inspect(kind)
    statement, converts = _select(mapper)
    found = await database.fetchrow(statement, *identity)
    if found is None:
        return None
    values = {
        name: value if convert is None else convert(value)
        for (name, convert), value in zip(converts.items(), found, strict=True)
    }
    known = session.identity_map.get(mapper.identity_key_from_primary_key(identity))
    row: Row = kind() if known is None else cast("Row", known)
    state: InstanceState[Row] = sa.inspect(row)
    state.dict.update(values)
    if known is None:
        make_transient_to_detached(row)
        session.add(row)
    else:
        _is_written(state, session)
    return row


async def update(database: asyncpg.Connection, session: Session, row: DeclarativeBase) -> bool:
    """Write what has changed of a row of the session.

    Returns False, with nothing written, when that is more than values of columns: a related row, or
    an expression for the database to compute. That is left to the unit of work.

    Args:
        database: the driver's connection, within the session's transaction.
        session: which holds the row.
        row: one that has changed.

    Raises:
        StaleDataError: the row is gone.
    """
    state: InstanceState[Any] = sa.inspect(row)
    now, before, columns = state.dict, state.committed_state, state.mapper.column_attrs
    if any(name not in columns or isinstance(now[name], sa.ClauseElement) for name in before):
        return False
    changed = tuple(sorted(name for name in before if before[name] != now[name]))
    if changed:
        assert state.identity is not None
        statement, converts, computed = _update(state.mapper, changed)
        values = [
            now[name] if convert is None else convert(now[name])
            for name, convert in zip(changed, converts, strict=True)
        ]
        written = await database.fetchrow(statement, *state.identity, *values)
        if written is None:
            raise StaleDataError
        now.update((name, written[name]) for name in computed)
    _is_written(state, session)
    return True


def _is_written(state: InstanceState[Any], session: Session) -> None:
    """What the unit of work says at its end."""
    state._commit_all(state.dict, session.identity_map)  # noqa: SLF001


@functools.cache
def _select(mapper: Mapper[Any]) -> tuple[str, dict[str, Convert]]:
    columns = {attribute.key: attribute.columns[0] for attribute in mapper.column_attrs}
    statement = (
        f"SELECT {', '.join(column.name for column in columns.values())}"  # noqa: S608 - our models
        f" FROM {mapper.local_table} WHERE {_identity(mapper)} FOR UPDATE"
    )
    converts: dict[str, Convert] = {
        name: column.type.dialect_impl(_DIALECT).result_processor(_DIALECT, None)
        for name, column in columns.items()
    }
    return statement, converts


@functools.cache
def _update(mapper: Mapper[Any], changed: tuple[str, ...]) -> tuple[str, list[Convert], list[str]]:
    """The UPDATE of these columns, what their values go through, and what it computes itself."""
    columns = [mapper.column_attrs[name].columns[0] for name in changed]
    first = 1 + len(mapper.primary_key)
    settings = [f"{column.name} = ${place}" for place, column in enumerate(columns, first)]
    computed = {
        attribute.key: attribute.columns[0]
        for attribute in mapper.column_attrs
        if attribute.columns[0].onupdate is not None and attribute.key not in changed
    }
    settings += [
        f"{column.name} = {column.onupdate.arg.compile(dialect=_DIALECT)}"
        for column in computed.values()
    ]
    returned = ", ".join(f"{column.name} AS {name}" for name, column in computed.items()) or "true"
    statement = (
        f"UPDATE {mapper.local_table} SET {', '.join(settings)}"  # noqa: S608 - our models
        f" WHERE {_identity(mapper)} RETURNING {returned}"
    )
    converts: list[Convert] = [
        column.type.dialect_impl(_DIALECT).bind_processor(_DIALECT) for column in columns
    ]
    return statement, converts, list(computed)


def _identity(mapper: Mapper[Any]) -> str:
    return " AND ".join(
        f"{column.name} = ${place}" for place, column in enumerate(mapper.primary_key, 1)
    )
