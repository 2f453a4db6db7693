"""How a process of a service starts, be it an api or a worker."""

import gc
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from shared import crash, telemetry
from shared.settings import ServiceSettings


def run(
    settings: ServiceSettings, part: str, main: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """Log and trace as this part of the service, and run its main to the end."""
    telemetry.configure(settings, part)
    crash.arm(settings.crash_at)
    uvloop.run(main())


def settle() -> None:
    """Say that what was imported and built so far stays.

    A full collection that walked it would stop all work for long, and a tenth of a command's time
    went into the walks.
    """
    gc.collect()
    gc.freeze()
