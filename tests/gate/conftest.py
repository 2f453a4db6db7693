"""A copy of what the checks read, to plant violations in."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = (
    *("libs/shared", "services/identity", "services/listings", "services/contracts"),
    *("services/escrow", "deploy/local", "deploy/simulators"),
)


class Copy:
    """The checked parts of the tree, somewhere they may be spoilt."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for source in SOURCES:
            shutil.copytree(
                ROOT / source / "src",
                root / source / "src",
                ignore=shutil.ignore_patterns("__pycache__"),
            )
        shutil.copytree(ROOT / "docs" / "events", root / "docs" / "events")
        shutil.copy(ROOT / "docs" / "events.md", root / "docs" / "events.md")
        shutil.copy(ROOT / "pyproject.toml", root / "pyproject.toml")

    def package(self, service: str) -> Path:
        return self.root / "services" / service / "src" / service

    def module(self, service: str, name: str) -> Path:
        """The file of a module that may have become a folder, or may not exist yet."""
        folder = self.package(service) / name
        return folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")

    def append(self, path: Path, line: str) -> None:
        text = path.read_text() if path.exists() else ""
        path.write_text(f"{text}\n{line}\n")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        paths = os.pathsep.join(str(self.root / source / "src") for source in SOURCES)
        return subprocess.run(
            [sys.executable, *command],
            cwd=self.root,
            env=os.environ | {"PYTHONPATH": paths},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def lint_imports(self) -> subprocess.CompletedProcess[str]:
        return self.run("-c", "from importlinter.cli import lint_imports_command as c; c()")

    def check_code(self) -> subprocess.CompletedProcess[str]:
        return self.run(str(ROOT / "deploy/checks/code.py"), "libs", "services", "deploy")

    def events(self, action: str) -> subprocess.CompletedProcess[str]:
        return self.run(str(ROOT / "deploy/checks/events.py"), action, "--root", str(self.root))


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)
