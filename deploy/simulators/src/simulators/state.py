"""Everything the simulated outside remembers, in one JSON file that survives a restart."""

import json
import os
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

EMPTY: dict[str, Any] = {
    "clock_offset_seconds": 0,
    "stripe": {"objects": {}, "events": [], "deliveries": [], "keys": {}, "requests": []},
    "discord": {"codes": {}, "tokens": {}},
    "roblox": {"codes": {}, "tokens": {}, "refresh": {}, "universes": {}, "next_universe": 10_000},
}


class State:
    """`data` is plain JSON; call `save` after changing it."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self.data: dict[str, Any] = json.loads(json.dumps(EMPTY))
        if file is not None and file.exists():
            self.data = json.loads(file.read_text())

    def reset(self) -> None:
        self.data = json.loads(json.dumps(EMPTY))
        self.save()

    def save(self) -> None:
        """Write all at once or not at all."""
        if self._file is None:
            return
        draft = self._file.with_suffix(".new")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            json.dump(self.data, out)
        draft.replace(self._file)

    def now(self) -> int:
        """Seconds since 1970 by the simulated clock."""
        return int(time.time()) + int(self.data["clock_offset_seconds"])


def make_id(prefix: str) -> str:
    return f"{prefix}_{uuid4().hex[:24]}"
