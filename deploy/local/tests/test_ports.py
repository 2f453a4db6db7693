"""Stacks that start at the same time never choose the same port."""

import json
import subprocess
import sys

from bloxtr8.ports import DEFAULT_PORTS, GRPC_OFFSET, free_ports, is_free

_CHOOSE = "import json; from bloxtr8.ports import free_ports; print(json.dumps(free_ports()))"


def test_ports_belong_to_one_stack_though_nobody_listens_yet() -> None:
    mine = [free_ports() for _ in range(20)]
    told = subprocess.run(
        [sys.executable, "-c", _CHOOSE], capture_output=True, text=True, check=True
    )
    chosen = [*mine, json.loads(told.stdout)]
    assert {frozenset(ports) for ports in chosen} == {frozenset(DEFAULT_PORTS)}
    numbers = [port for ports in chosen for port in ports.values()]
    assert len(set(numbers)) == len(numbers)
    assert not set(numbers) & set(DEFAULT_PORTS.values())
    assert all(is_free(port) and is_free(port + GRPC_OFFSET) for port in numbers)
