"""The locks pin and hash everything the project files ask for, and name no address."""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
MEMBERS = ("libs/*", "services/*", "deploy/local", "deploy/simulators")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PIN = re.compile(r"^(?P<name>[a-z0-9][a-z0-9._-]*)(\[[a-z0-9,-]+\])?==(?P<version>[^ ;\\]+)")
_ADDRESS = re.compile(r"https?://|file:|git\+|--(extra-)?index-url|--find-links|^-e ", re.MULTILINE)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lock: Path, problems: list[str]) -> dict[str, str]:
    """The locked requirements by name, each with its version and hashes."""
    text = lock.read_text()
    if _ADDRESS.search(text):
        problems.append(f"{lock.name}: names an address")
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=\S)", text.strip()):
        pin = _PIN.match(entry)
        if pin is None or "--hash=sha256:" not in entry:
            problems.append(f"{lock.name}: not pinned with hashes: {entry.splitlines()[0]}")
            continue
        name = normal(pin["name"])
        # One package may be pinned differently for different Pythons.
        found[name] = "\n".join(sorted({found.get(name, ""), entry})).strip()
    return found


def main() -> None:
    problems: list[str] = []
    locked = pins(ROOT / "requirements.lock", problems)
    image = pins(ROOT / "deploy" / "image.lock", problems)
    pins(ROOT / "deploy" / "bootstrap.lock", problems)
    problems += [f"image.lock: {name} differs" for name in image if image[name] != locked.get(name)]
    folders = [folder for pattern in MEMBERS for folder in sorted(ROOT.glob(pattern))]
    folders = [folder for folder in folders if folder.is_dir()]
    projects = {
        folder: tomllib.loads((folder / "pyproject.toml").read_text()) for folder in folders
    }
    own = {project["project"]["name"] for project in projects.values()}
    root = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = {ROOT: [*root["project"]["dependencies"], *root["dependency-groups"]["dev"]]}
    for folder, project in projects.items():
        where = folder.relative_to(ROOT)
        asked[folder] = project["project"]["dependencies"]
        if project["project"]["requires-python"] != root["project"]["requires-python"]:
            problems.append(f"{where}: requires-python differs from the workspace's")
        if not (folder / "src" / project["project"]["name"] / "py.typed").is_file():
            problems.append(f"{where}: src/{project['project']['name']}/py.typed is missing")
    for folder, dependencies in asked.items():
        for dependency in dependencies:
            name = _NAME.match(dependency)
            if name is None or (name[0] not in own and normal(name[0]) not in locked):
                problems.append(f"{folder.name}: {dependency} is not locked; run make lock")
    if problems:
        sys.exit("\n".join(problems))
    sys.stdout.write(f"{len(projects)} projects, {len(locked)} locked packages\n")


if __name__ == "__main__":
    main()
