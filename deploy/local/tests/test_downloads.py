"""Only jars with the right hash are used."""

import shutil
import threading
from pathlib import Path

import pytest

from bloxtr8 import downloads
from bloxtr8.errors import Interrupted, Misused


def line_of(artifact: str) -> str:
    return next(line for line in downloads.LOCK.read_text().splitlines() if f":{artifact}:" in line)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "bloxtr8"


def test_the_lock_names_46_jars_by_coordinates_and_hash_alone() -> None:
    jars = list(downloads.locked_jars())
    assert len(jars) == len({jar[:2] for jar in jars}) == 46
    assert all(len(digest) == 64 and int(digest, 16) for *_, digest in jars)
    assert not any("/" in line for line in downloads.LOCK.read_text().splitlines())


def test_a_jar_is_fetched_once_and_kept(tmp_path: Path, cache: Path) -> None:
    lock = tmp_path / "one.lock"
    lock.write_text(line_of("slf4j-api") + "\n")
    said: list[str] = []
    folder = downloads.kafka_jars(said.append, lock)
    [jar] = folder.iterdir()
    [(*_, digest)] = downloads.locked_jars(lock)
    assert downloads.sha256(jar) == digest
    assert said == ["Fetching Apache Kafka: 0/1 jars", "Fetching Apache Kafka: 1/1 jars"]
    said.clear()
    shutil.rmtree(cache / "maven")
    assert downloads.kafka_jars(said.append, lock) == folder
    assert said == []


def test_a_jar_with_another_hash_is_refused(tmp_path: Path, cache: Path) -> None:
    lock = tmp_path / "bad.lock"
    good = line_of("slf4j-api")
    lock.write_text(good[:-1] + ("0" if good[-1] != "0" else "1") + "\n")
    with pytest.raises(Misused, match=r"slf4j-api:\S+ has not the hash of kafka.lock"):
        downloads.kafka_jars(lambda _: None, lock)
    assert list((cache / "kafka").rglob("*.jar")) == []


def test_fetching_stops_when_the_stack_does(tmp_path: Path, cache: Path) -> None:
    def stop(_: str) -> None:
        raise Interrupted

    lock = tmp_path / "one.lock"
    lock.write_text(line_of("slf4j-api") + "\n")
    with pytest.raises(Interrupted):
        downloads.kafka_jars(stop, lock)
    assert list((cache / "kafka").rglob("*.jar")) == []


def test_two_that_start_at_once_fetch_one_after_the_other(tmp_path: Path, cache: Path) -> None:
    lock = tmp_path / "one.lock"
    lock.write_text(line_of("slf4j-api") + "\n")
    said: list[str] = []
    waits = threading.Event()

    def tell(text: str) -> None:
        said.append(text)
        waits.set()

    other = threading.Thread(target=downloads.kafka_jars, args=(tell, lock))

    def begin_another(_: str) -> None:
        if not other.ident:
            other.start()
            assert waits.wait(10)

    folder = downloads.kafka_jars(begin_another, lock)
    other.join(10)
    assert said[0] == "Waiting for another stack that prepares the same"
    assert said[-1] == "Fetching Apache Kafka: 1/1 jars"
    assert [jar.suffix for jar in folder.iterdir()] == [".jar"]
