"""Everything the simulated outside remembers; what one `save` covers is kept whole or not at all.

The file is a journal: each line holds the changes of one save, and a line torn by a crash is
dropped. Starting writes it anew, so that it never holds more than one line for each record.
"""

import copy
import json
import os
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

Record = dict[str, Any]
Change = tuple[str, str, str, Record | None]
"""Simulator, kind and id of a record, and what it now is; None when it is gone."""


class Part:
    """The records of one simulator by kind and id, and its clock."""

    def __init__(self, state: "State", name: str) -> None:
        self._state = state
        self._name = name
        self._kinds: dict[str, dict[str, Record]] = {}

    def get(self, kind: str, record_id: str) -> Record | None:
        """A copy; `put` makes a change of it count."""
        return copy.deepcopy(self._kinds.get(kind, {}).get(record_id))

    def all(self, kind: str) -> list[Record]:
        """In the order they were made; to be read only."""
        return list(self._kinds.get(kind, {}).values())

    def by_id(self, kind: str) -> dict[str, Record]:
        """To be read only."""
        return self._kinds.get(kind, {})

    def kinds(self) -> list[str]:
        return list(self._kinds)

    def put(self, kind: str, record_id: str, record: Record) -> Record:
        kept = copy.deepcopy(record)
        self._kinds.setdefault(kind, {})[record_id] = kept
        self._state.note((self._name, kind, record_id, kept))
        return record

    def pop(self, kind: str, record_id: str) -> Record | None:
        """Forget a record and return it."""
        record = self._kinds.get(kind, {}).pop(record_id, None)
        if record is not None:
            self._state.note((self._name, kind, record_id, None))
        return record

    def load(self, kind: str, record_id: str, record: Record | None) -> None:
        """Take over what the journal says."""
        if record is None:
            self._kinds.get(kind, {}).pop(record_id, None)
        else:
            self._kinds.setdefault(kind, {})[record_id] = record

    def save(self) -> None:
        self._state.save()

    def reset(self) -> None:
        """Forget everything, also that time has passed."""
        for kind, records in self._kinds.items():
            for record_id in list(records):
                self.pop(kind, record_id)
        self.save()

    def now(self) -> int:
        """Seconds since 1970 by this simulator's clock."""
        return int(time.time() + self._ahead)

    @property
    def _ahead(self) -> float:
        return float(self._kinds.get("clock", {}).get("ahead", {}).get("seconds", 0))

    def advance(self, seconds: float) -> None:
        self.put("clock", "ahead", {"seconds": self._ahead + seconds})
        self.save()


class State:
    """The parts and their journal; without a file nothing outlives the process."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._parts: dict[str, Part] = {}
        self._unsaved: list[Change] = []
        if file is not None:
            self._load(file)

    def part(self, name: str) -> Part:
        return self._parts.setdefault(name, Part(self, name))

    def note(self, change: Change) -> None:
        self._unsaved.append(change)

    def save(self) -> None:
        """Append what has changed since the last time, as one line."""
        if self._file is not None and self._unsaved:
            with self._file.open("a") as journal:
                journal.write(json.dumps(self._unsaved) + "\n")
        self._unsaved.clear()

    def _load(self, file: Path) -> None:
        lines = file.read_text().splitlines(keepends=True) if file.exists() else []
        for line in lines:
            if not line.endswith("\n"):
                continue
            for name, kind, record_id, record in json.loads(line):
                self.part(name).load(kind, record_id, record)
        draft = file.with_name(f"{file.name}.new")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            for name, part in self._parts.items():
                for kind in part.kinds():
                    for record_id, record in part.by_id(kind).items():
                        out.write(json.dumps([(name, kind, record_id, record)]) + "\n")
        draft.replace(file)


def make_id(prefix: str) -> str:
    return f"{prefix}_{uuid4().hex[:24]}"
