"""Kafka's jars: exact coordinates and hashes from kafka.lock, fetched once and kept."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bloxtr8.home import ROOT, Misused

LOCK = ROOT / "deploy" / "local" / "kafka.lock"
THREADS = 8


def cache_folder() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "bloxtr8"


def locked_jars(lock: Path = LOCK) -> Iterator[tuple[str, str, str, str]]:
    """Group, artifact, version and SHA-256 of each jar."""
    for line in lock.read_text().splitlines():
        coordinates, _, digest = line.partition(" sha256:")
        group, artifact, version = coordinates.split(":")
        yield group, artifact, version, digest


def sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@contextlib.contextmanager
def alone(folder: Path, progress: Callable[[str], None]) -> Iterator[None]:
    """Only one process at a time fills this folder; another one waits, and tells `progress`."""
    with folder.with_name(f"{folder.name}.lock").open("w") as mark:
        while True:
            try:
                fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                progress("Waiting for another stack that prepares the same")
                time.sleep(0.2)
        yield


def kafka_jars(progress: Callable[[str], None], lock: Path = LOCK) -> Path:
    """The folder that holds all jars of the lock, each with the right hash.

    `progress` is told of each jar; what it raises ends the fetching.

    Raises:
        Misused: a jar's hash is wrong, or it cannot be fetched.
    """
    folder = cache_folder() / "kafka" / hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    jars = list(locked_jars(lock))

    def missing() -> list[tuple[str, str, str, str]]:
        return [jar for jar in jars if not (folder / f"{jar[1]}-{jar[2]}.jar").exists()]

    if missing():
        with alone(folder, progress):
            _fetch_all(missing(), len(jars), folder, progress)
    return folder


def _fetch_all(
    missing: list[tuple[str, str, str, str]],
    of: int,
    folder: Path,
    progress: Callable[[str], None],
) -> None:
    done = of - len(missing)
    progress(f"Fetching Apache Kafka: {done}/{of} jars")
    pool = ThreadPoolExecutor(THREADS)
    try:
        fetched = pool.map(lambda jar: _fetch(jar, folder), missing)
        for number, _ in enumerate(fetched, done + 1):
            progress(f"Fetching Apache Kafka: {number}/{of} jars")
    finally:
        pool.shutdown(cancel_futures=True)


def _fetch(jar: tuple[str, str, str, str], folder: Path) -> None:
    # Imported on demand: only a first start fetches anything.
    from jgo.maven import MavenContext  # noqa: PLC0415

    group, artifact, version, digest = jar
    context = MavenContext(repo_cache=cache_folder() / "maven")
    try:
        found = context.project(group, artifact).at_version(version).artifact().resolve()
    except Exception as error:
        raise Misused(
            f"{group}:{artifact}:{version} cannot be fetched ({error}). Check the network, or set "
            "KAFKA_BOOTSTRAP_SERVERS to a Kafka of your own."
        ) from error
    if sha256(Path(found)) != digest:
        raise Misused(
            f"{group}:{artifact}:{version} has not the hash of {LOCK.name}; it was not used. "
            f"Remove {cache_folder() / 'maven'} and try again."
        )
    kept = folder / f"{artifact}-{version}.jar"
    draft = kept.with_suffix(f".{os.getpid()}")
    shutil.copyfile(found, draft)
    draft.replace(kept)
