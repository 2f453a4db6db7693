"""How fast we ask Stripe: one count an endpoint that all processes share, so that none is turned
away by Stripe for the others' haste.
"""

import asyncio
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from escrow.rails import AskAgain
from shared.clock import clock
from shared.database import Sessions
from shared.limits import RateLimit

PER_SECOND = 20
"""Stripe takes 25 requests a second for each endpoint."""
BURST = 5
"""Requests that need not wait after a pause; with them never more than 25 in any second."""
LONGEST_WAIT_SECONDS = 5

_STEP = timedelta(seconds=1 / PER_SECOND)
_BURST = _STEP * (BURST - 1)


class Budget:
    """A token bucket an endpoint; its row says when the next request may leave."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def take(self, endpoint: str) -> None:
        """Wait for this request's turn.

        Raises:
            AskAgain: too many wait already.
        """
        queue_ends = clock() + _BURST + timedelta(seconds=LONGEST_WAIT_SECONDS)
        turn = (
            insert(RateLimit)
            .values(bucket=f"stripe:{endpoint}", window_ends_at=clock() + _STEP, hits=1)
            .on_conflict_do_update(
                index_elements=[RateLimit.bucket],
                set_={
                    "window_ends_at": sa.func.greatest(RateLimit.window_ends_at, clock()) + _STEP,
                    "hits": RateLimit.hits + 1,
                },
                where=RateLimit.window_ends_at <= queue_ends,
            )
            .returning(sa.extract("epoch", RateLimit.window_ends_at - _STEP - _BURST - clock()))
        )
        async with self._sessions.begin() as session:
            wait_seconds = await session.scalar(turn)
        if wait_seconds is None:
            raise AskAgain(f"our own budget of {PER_SECOND} a second: {endpoint}")
        if wait_seconds > 0:
            await asyncio.sleep(float(wait_seconds))
