"""What the supervisor makes of parts that die, fail or depend on others."""

import asyncio

import psutil
import pytest
from deploy.local.tests.conftest import Build, always

from bloxtr8.parts import Process, Step
from bloxtr8.supervisor import Child, Supervisor


def script(name: str, text: str, *, after: tuple[str, ...] = ()) -> Process:
    return Process(name, lambda: ["sh", "-c", text], always, (), after=after)


def states(supervisor: Supervisor) -> dict[str, str]:
    return {name: child.state for name, child in supervisor.children.items()}


async def test_what_never_gets_ready_is_given_up_and_so_is_what_needs_it(build: Build) -> None:
    async def never() -> bool:
        return False

    broken = Process("broken", lambda: ["sh", "-c", "exit 7"], never, ())
    supervisor = build(
        broken,
        script("dependent", "exec sleep 60", after=("broken",)),
        script("other", "exec sleep 60"),
    )
    await supervisor.start(["dependent", "other"])
    assert states(supervisor) == {"broken": "failed", "dependent": "failed", "other": "ready"}
    assert supervisor.children["broken"].problem == ("ended 3 times before it was ready, with 7")
    assert supervisor.children["dependent"].problem == "needs broken"


async def test_parts_start_after_what_they_need(build: Build) -> None:
    order: list[str] = []

    def step(name: str, *after: str) -> Step:
        async def do() -> None:
            order.append(name)

        return Step(name, do, after)

    supervisor = build(step("c", "b"), step("a"), step("b", "a"), step("unasked"))
    await supervisor.start(["c"])
    assert order == ["a", "b", "c"]
    assert states(supervisor) == {"c": "done", "a": "done", "b": "done", "unasked": "stopped"}


async def test_a_step_is_tried_three_times(build: Build) -> None:
    tries: list[int] = []

    async def fail() -> None:
        tries.append(1)
        raise RuntimeError("no luck")

    supervisor = build(Step("unlucky", fail))
    await supervisor.start(["unlucky"])
    child: Child = supervisor.children["unlucky"]
    assert (len(tries), child.state, child.problem) == (3, "failed", "no luck")


async def test_a_process_that_ignores_its_signal_is_killed_with_its_children(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bloxtr8.supervisor.STOP_WITHIN_SECONDS", 0.5)
    supervisor = build(script("stubborn", "trap '' TERM; sleep 60 & wait; sleep 60"))
    await supervisor.start(["stubborn"])
    running = supervisor.children["stubborn"].running
    assert running is not None
    family = [psutil.Process(running.pid)]
    while not family[0].children():
        await asyncio.sleep(0.01)
    family += family[0].children()
    await supervisor.stop(["stubborn"])
    _, alive = psutil.wait_procs(family, timeout=5)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
    assert states(supervisor) == {"stubborn": "stopped"}


async def test_a_process_that_is_being_restarted_can_be_stopped(build: Build) -> None:
    supervisor = build(script("restless", "sleep 0.2"))
    await supervisor.start(["restless"])
    while supervisor.children["restless"].state != "restarting":
        await asyncio.sleep(0.01)
    await supervisor.stop(["restless"])
    await asyncio.sleep(0)
    child = supervisor.children["restless"]
    assert (child.state, child.running) == ("stopped", None)
