"""`make` explains itself, and says what is wrong when it cannot work."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.gate.conftest import ROOT

TARGETS = {
    *("demo", "up", "down", "status", "logs", "migrate"),
    *("test", "soak", "check", "bench", "fmt", "lock"),
    "help",
}


def make(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_make_alone_prints_every_target_with_what_it_does() -> None:
    listed = make()
    assert listed.returncode == 0
    lines = [re.fullmatch(r"  make (\w+) +(\S.*)", line) for line in listed.stdout.splitlines()]
    assert {line[1] for line in lines if line} == TARGETS
    assert all(lines)


def test_make_check_runs_every_check() -> None:
    planned = make("-n", "-o", ".venv/.ready", "check").stdout
    commands = [
        "ruff check .",
        "ruff format --check .",
        "mypy libs services deploy tests bench",
        "lint-imports",
        "python deploy/checks/code.py libs services deploy",
        "python deploy/checks/events.py check",
        "codespell",
        "python deploy/checks/projects.py",
        "check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml",
        "hadolint deploy/Dockerfile",
    ]
    run = [line.removeprefix(".venv/bin/") for line in planned.splitlines()]
    assert [command for command in commands if command not in run] == []


def test_make_bench_without_a_known_name_lists_the_benches() -> None:
    benches = sorted(path.stem for path in (ROOT / "bench").glob("*.py"))
    for name in ("", "no-such-bench", "../deploy/checks/events"):
        refused = make("-o", ".venv/.ready", "bench", f"NAME={name}")
        assert refused.returncode == 2
        assert refused.stderr.startswith("make bench NAME=<one of: ")
        listed = refused.stderr.partition(": ")[2].partition(">")[0]
        assert sorted(listed.split()) == benches


def test_an_old_python_is_named_and_nothing_is_made(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("requirements.lock", "deploy/bootstrap.lock", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for member in ROOT.glob("*/*/pyproject.toml"):
        (tmp_path / member.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / member.relative_to(ROOT)).touch()
    old = tmp_path / "old-python"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.9.2 && exit 0\nexit 1\n')
    old.chmod(0o755)
    refused = make("demo", f"PYTHON={old}", folder=tmp_path)
    assert refused.returncode == 2
    assert f"Bloxtr8 needs Python 3.11 or newer; {old} is Python 3.9.2." in refused.stderr
    assert not (tmp_path / ".venv").exists()


def test_continuous_integration_runs_the_same_two_commands() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert script.rstrip().endswith("\nmake check\nmake test")
    assert "export CI=true" in script
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111 == 0o111
