"""Two people and one new trade for every story."""

from collections.abc import AsyncIterator

import pytest

from bloxtr8.trade import Trade
from bloxtr8.trader import Trader
from shared.testing import Stack


@pytest.fixture
async def trade(stack: Stack) -> AsyncIterator[Trade]:
    async with (
        Trader(stack.gateway_url, "sasha", "sasha_builds") as seller,
        Trader(stack.gateway_url, "blair", "blair_plays") as buyer,
    ):
        yield Trade(seller, buyer, stack.simulators_url)


@pytest.fixture
async def stranger(stack: Stack) -> AsyncIterator[Trader]:
    """Someone with an account of their own and no part in the trade."""
    async with Trader(stack.gateway_url, "moss", "moss_rbx") as person:
        await person.sign_in()
        if not person.user.get("roblox_id"):
            await person.link_roblox()
        yield person
