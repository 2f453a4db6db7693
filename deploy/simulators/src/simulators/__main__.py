"""`python -m simulators`, configured by SIMULATORS_… variables."""

import uvicorn

from simulators.app import Settings, create_app

KEPT_ALIVE_SECONDS = 75
"""Longer than clients keep a connection; one closed under a request would look like a failure."""
STOP_SECONDS = 2
"""How long a stop waits for requests that hang on purpose."""

if __name__ == "__main__":
    settings = Settings()
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_level="warning",
        timeout_keep_alive=KEPT_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
