"""What routes need that ask the payment provider: they hold no transaction while they wait."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from escrow.errors import OwnSessionNeeded
from escrow.rails.stripe import StripeRail
from escrow.settings import Settings
from shared.auth import Caller, Principal
from shared.database import Sessions


@dataclass(frozen=True)
class Outside:
    """`api.py` puts it into the app's state."""

    settings: Settings
    sessions: Sessions
    rail: StripeRail


async def _outside(request: Request) -> Outside:
    outside: Outside = request.app.state.outside
    return outside


Out = Annotated[Outside, Depends(_outside)]


async def _owner(caller: Caller) -> Principal:
    if caller.scopes is not None:
        raise OwnSessionNeeded
    return caller


InPerson = Annotated[Principal, Depends(_owner)]
"""A caller with a session of their own; a frontend's limited token may only read."""
