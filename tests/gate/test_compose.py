"""docker-compose.yml and the image recipe: hardened, pinned, closed, and complete."""

import ast
import importlib
import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from tests.gate.conftest import ROOT

from shared.settings import ServiceSettings

SERVICES = ("identity", "listings", "contracts", "escrow")
PROCESSES = {f"{service}-{kind}" for service in SERVICES for kind in ("api", "worker")}
JOBS = {"migrations", "topics", "storage", "demo"}
COMPOSE = YAML(typ="safe").load(ROOT / "docker-compose.yml")
CONTAINERS: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
every_container = pytest.mark.parametrize("name", CONTAINERS)


@pytest.fixture(scope="session")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the generator writes, made in a copy of its place."""
    root = tmp_path_factory.mktemp("compose")
    program = root / "deploy" / "compose" / "make_secrets.py"
    program.parent.mkdir(parents=True)
    program.write_text((ROOT / "deploy" / "compose" / "make_secrets.py").read_text())
    subprocess.run([sys.executable, str(program)], check=True, capture_output=True)
    return root / "deploy" / "secrets"


def environment(name: str, secrets: Path) -> dict[str, str]:
    """What the container's process finds in its environment."""
    container = CONTAINERS[name]
    found: dict[str, str] = {}
    for file in container.get("env_file", []):
        lines = (secrets / Path(file).name).read_text().splitlines()
        found |= dict(line.split("=", 1) for line in lines)
    return found | {key: str(value) for key, value in container.get("environment", {}).items()}


def test_the_same_parts_as_everywhere_are_there() -> None:
    servers = {"postgres", "kafka", "s3", "simulators", "gateway"}
    assert set(CONTAINERS) == servers | PROCESSES | JOBS


@every_container
def test_a_container_can_do_no_more_than_it_must(name: str) -> None:
    container = CONTAINERS[name]
    assert container["user"].split(":")[0] not in {"0", "root"}
    assert container["read_only"] is True
    assert container["cap_drop"] == ["ALL"]
    assert container.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "gateway" else [])
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in container
    assert "network_mode" not in container
    assert re.fullmatch(r"\d+[mg]", container["mem_limit"])
    assert 0 < container["cpus"] <= 2
    assert 0 < container["pids_limit"] <= 256


@every_container
def test_an_image_is_pinned_by_version(name: str) -> None:
    container = CONTAINERS[name]
    if "build" in container:
        assert container["image"] == "bloxtr8:local"
        assert container["build"] == {"context": ".", "dockerfile": "deploy/Dockerfile"}
    else:
        assert re.fullmatch(r"[a-z0-9/]+:\d+\.\d+(\.\d+)?(-[a-z]+)?", container["image"])


@every_container
def test_a_container_says_whether_it_is_well_or_ends(name: str) -> None:
    container = CONTAINERS[name]
    if name in JOBS:
        assert "healthcheck" not in container
        assert container["restart"] in {"on-failure:5", "no"}
    else:
        assert container["healthcheck"]["test"][0] == "CMD"
        assert container["restart"] == "unless-stopped"


def test_only_the_gateway_is_published_and_only_to_this_machine() -> None:
    published = {name: c["ports"] for name, c in CONTAINERS.items() if "ports" in c}
    assert published == {"gateway": ["127.0.0.1:8080:8080"]}
    assert not any("expose" in container for container in CONTAINERS.values())


def test_only_the_gateway_has_a_way_out() -> None:
    networks = {name: network or {} for name, network in COMPOSE["networks"].items()}
    assert {name for name, network in networks.items() if not network.get("internal")} == {"public"}
    outside = {name for name, c in CONTAINERS.items() if "public" in c["networks"]}
    assert outside == {"gateway"}
    for name in ("postgres", "kafka", "s3"):
        assert CONTAINERS[name]["networks"] == ["inside"]
    assert "inside" not in CONTAINERS["gateway"]["networks"]


def test_no_secret_stands_in_the_compose_file() -> None:
    for name, container in CONTAINERS.items():
        for variable, value in container.get("environment", {}).items():
            assert not re.search(r"PASSWORD|SECRET|API_KEY|ENCRYPTION", variable), (
                f"{name} {variable}"
            )
            assert "dev-" not in str(value)
            assert "@" not in str(value)


def test_secrets_are_made_once_and_only_their_folder_is_open_to_the_owner(secrets: Path) -> None:
    assert secrets.stat().st_mode & 0o777 == 0o700
    kept = json.loads((secrets / "secrets.json").read_text())
    assert all(value.startswith("dev-") for value in kept.values())
    assert len(set(kept.values())) == len(kept)
    before = {file.name: file.read_text() for file in secrets.iterdir()}
    program = secrets.parent / "compose" / "make_secrets.py"
    subprocess.run([sys.executable, str(program)], check=True, capture_output=True)
    assert {file.name: file.read_text() for file in secrets.iterdir()} == before
    assert "deploy/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_each_process_gets_its_own_secrets_only(secrets: Path) -> None:
    for name in PROCESSES:
        service = name.split("-")[0]
        assert CONTAINERS[name]["env_file"] == [f"deploy/secrets/{service}.env"]
        text = (secrets / f"{service}.env").read_text()
        others = [other for other in SERVICES if other != service]
        assert not any(f"{other}_app" in text or other.upper() in text for other in others)
        assert "_owner" not in text
        assert not any("secrets.json" in volume for volume in CONTAINERS[name].get("volumes", []))


@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_a_process_finds_all_its_settings(
    name: str, secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = name.split("-", maxsplit=1)[0]
    kind: type[ServiceSettings] = importlib.import_module(f"{service}.settings").Settings
    given = environment(name, secrets)
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    settings = kind()
    assert settings.environment == "local"
    prefix = f"{service.upper()}_"
    known = {prefix + field.upper() for field in kind.model_fields}
    assert set(given) - known == set()


def test_the_gateway_finds_everything_its_file_asks_for(secrets: Path) -> None:
    asked = set(re.findall(r"\{\$([A-Z_]+)\}", (ROOT / "deploy/caddy/Caddyfile").read_text()))
    given = environment("gateway", secrets)
    assert asked - set(given) == set()
    for service in SERVICES:
        assert given[f"{service.upper()}_API"] == f"{service}-api:8000"


def test_nothing_starts_before_what_it_needs() -> None:
    done, healthy = "service_completed_successfully", "service_healthy"
    for service in SERVICES:
        api, worker = CONTAINERS[f"{service}-api"], CONTAINERS[f"{service}-worker"]
        assert api["depends_on"]["migrations"] == {"condition": done}
        assert set(worker["depends_on"]) == {"migrations", "topics", "storage"}
        assert all(needed == {"condition": done} for needed in worker["depends_on"].values())
        assert CONTAINERS["gateway"]["depends_on"][f"{service}-api"] == {"condition": healthy}
    for job, server in (("migrations", "postgres"), ("topics", "kafka"), ("storage", "s3")):
        assert CONTAINERS[job]["depends_on"] == {server: {"condition": healthy}}


def test_the_image_is_pinned_checked_by_hash_and_runs_without_privileges() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert bases
    assert all(re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", base) for base in bases)
    assert "--require-hashes" in DOCKERFILE
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    assert not re.search(r"^ADD |curl|wget|apt-get|sudo", DOCKERFILE, re.MULTILINE)


def test_the_image_has_every_source_and_no_secret() -> None:
    copied = re.findall(r"^COPY (?!--from)(\S+) ", DOCKERFILE, re.MULTILINE)
    assert [path for path in copied if not (ROOT / path).exists()] == []
    searched = re.search(r"PYTHONPATH=(\S+)", DOCKERFILE)
    assert searched is not None
    packages = {Path(path).relative_to("/app") for path in searched[1].split(":")}
    assert packages == {
        path.relative_to(ROOT)
        for pattern in ("libs/*/src", "services/*/src", "deploy/*/src")
        for path in ROOT.glob(pattern)
    }
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    assert "*" in ignored
    assert not any("secrets" in path for path in allowed)
    for path in copied:
        assert any(path.startswith(entry) or entry.startswith(path) for entry in allowed)


def imported(path: Path) -> set[str]:
    """The modules a file imports when it is loaded."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_the_image_has_every_package_that_its_code_imports() -> None:
    sources = [
        ROOT / "libs/shared/src",
        *ROOT.glob("services/*/src"),
        ROOT / "deploy/simulators/src",
    ]
    files = {path for source in sources for path in source.rglob("*.py")}
    files = {path for path in files if "testing" not in path.parts}
    # Of the local stack only what compose's jobs load is used.
    local, wanted = (
        ROOT / "deploy/local/src/bloxtr8",
        [ROOT / "deploy/local/src/bloxtr8/compose.py"],
    )
    while wanted:
        path = wanted.pop()
        files.add(path)
        parts = {name.split(".")[1] for name in imported(path) if name.startswith("bloxtr8.")}
        named = {local / f"{part}.py" for part in parts}
        wanted += [path for path in named if path.exists() and path not in files]
    locked = {
        re.sub(r"[-_.]+", "-", name)
        for name in re.findall(
            r"^([a-z0-9._-]+)(?:\[[^]]*\])?==",
            (ROOT / "deploy/image.lock").read_text(),
            re.MULTILINE,
        )
    }
    own = {"shared", "bloxtr8", "simulators", *SERVICES}
    providers = importlib.metadata.packages_distributions()
    missing = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in files
        for name in {module.partition(".")[0] for module in imported(path)}
        if name not in own | set(sys.stdlib_module_names)
        and not {re.sub(r"[-_.]+", "-", d.lower()) for d in providers.get(name, [])} & locked
    }
    assert missing == set()
