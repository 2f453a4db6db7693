"""A request's transaction; apart from `database`, for workers do without FastAPI."""

import contextlib
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from shared import crash
from shared.database import Sessions


async def transaction(request: Request) -> AsyncIterator[AsyncSession]:
    """A session whose transaction commits after the route has answered and before the answer
    leaves; any exception rolls it back.
    """
    sessions: Sessions = request.app.state.sessions
    async with sessions.begin() as session:
        yield session
        crash.point("cmd.before_commit")


request_transaction = contextlib.asynccontextmanager(transaction)
"""The same for who opens it by hand."""
Transaction = Annotated[AsyncSession, Depends(transaction, scope="function")]
"""With FastAPI's default scope the 200 would leave before the commit, and a commit that fails
would never be seen by the client."""
