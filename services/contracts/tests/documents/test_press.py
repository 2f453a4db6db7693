"""The press works in a process of its own that comes and goes."""

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest
from services.contracts.tests.conftest import SealFiles, make_deal
from services.contracts.tests.documents.test_contract import TERMS, draft_of

from contracts.documents.press import NotOurSeal, Press, PressFailed
from shared.testing import eventually


def presses() -> list[psutil.Process]:
    children = psutil.Process().children()
    return [child for child in children if "contracts.documents.press" in child.cmdline()]


async def test_it_starts_with_the_first_task_and_ends_when_idle() -> None:
    before = set(presses())
    press = Press(idle_seconds=0.2)
    assert set(presses()) == before
    await press.render(draft_of(make_deal()), TERMS)
    [process] = set(presses()) - before

    async def gone() -> None:
        assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE

    await eventually(gone)
    await press.render(draft_of(make_deal()), TERMS)
    await press.close()


async def test_a_task_that_kills_it_fails_and_the_next_one_works() -> None:
    before = set(presses())
    press = Press()
    await press.render(draft_of(make_deal()), TERMS)
    [process] = set(presses()) - before
    os.kill(process.pid, signal.SIGSTOP)
    task = asyncio.ensure_future(press.render(draft_of(make_deal()), TERMS))
    await asyncio.sleep(0)
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(PressFailed):
        await task
    assert (await press.render(draft_of(make_deal()), TERMS)).startswith(b"%PDF")
    await press.close()


async def test_a_task_that_takes_too_long_is_ended() -> None:
    press = Press(task_within_seconds=0.01)
    with pytest.raises(PressFailed, match="TimeoutError"):
        await press.render(draft_of(make_deal()), TERMS)
    assert press._process is None


async def test_what_goes_wrong_inside_is_told(press: Press, seal_files: SealFiles) -> None:
    with pytest.raises(PressFailed, match="ValidationError"):
        await press.render({}, TERMS)
    with pytest.raises(NotOurSeal, match="cannot be read"):
        await press.check(b"%PDF-1.7 nothing")
    missing = Press(str(Path("/nowhere.p12")), "", str(seal_files.root))
    with pytest.raises(PressFailed):
        await missing.seal(b"%PDF-1.7", {})
    await missing.close()
