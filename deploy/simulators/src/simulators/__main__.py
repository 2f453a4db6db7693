"""`python -m simulators`, configured by SIMULATORS_… variables."""

import uvicorn

from simulators.app import Settings, create_app

if __name__ == "__main__":
    settings = Settings()
    uvicorn.run(create_app(settings), host=settings.host, port=settings.port, log_level="warning")
