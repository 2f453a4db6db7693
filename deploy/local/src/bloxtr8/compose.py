"""What docker compose's one-shot containers do; every job is harmless to repeat.

They use the local stack's own code on compose's servers, which the environment names.
"""

import argparse
import asyncio
import os
from pathlib import Path

from rich.console import Console

from bloxtr8 import demo, kafka, objects, postgres, seal
from bloxtr8.home import SERVICES, Home
from shared import migrations


def make_database(home: Home) -> None:
    """Roles, schemas and tables."""
    asyncio.run(postgres.make_database(home))
    urls = postgres.migration_environment(home)
    for service in SERVICES:
        migrations.upgrade(service, urls[f"{service.upper()}_MIGRATION_DATABASE_URL"])


def make_topics(home: Home) -> None:
    """Topics, logins and who may do what."""
    kafka.apply_table(home)


def make_storage(home: Home) -> None:
    """The buckets and the key that seals contracts."""
    objects.make_buckets(home)
    seal.make(home)


def trade(home: Home) -> None:
    """One trade, shown."""
    console = Console()
    gateway_url, simulators_url = os.environ["GATEWAY_URL"], os.environ["SIMULATORS_URL"]
    demo.show(asyncio.run(demo.run(gateway_url, simulators_url, home.path, console)), console)


JOBS = {"database": make_database, "topics": make_topics, "storage": make_storage, "demo": trade}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bloxtr8.compose", description=__doc__)
    parser.add_argument("job", choices=JOBS)
    job = parser.parse_args().job
    JOBS[job](Home(Path(os.environ["BLOXTR8_STATE"]), {}))


if __name__ == "__main__":
    main()
