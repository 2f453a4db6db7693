"""`bloxtr8 templates`: the words that contracts are made of, kept through the API like anybody's
commands: with an access token, so that roles hold and the audit log names a person.
"""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.table import Table

from bloxtr8.control import ask
from bloxtr8.errors import Misused
from bloxtr8.home import open_home

TOKEN = "BLOXTR8_TOKEN"  # noqa: S105 - the name of a variable
PATH = "/v1/contract-templates"
TIMEOUT_SECONDS = 60
"""A preview takes a second or two to be made."""

app = typer.Typer(
    help=f"List, add, preview, activate and deprecate contract templates. {TOKEN} holds the access"
    " token of a moderator (to read) or an admin: POST /v1/auth/token sells one to a session.",
    no_args_is_help=True,
)
out = Console()

UrlOption = Annotated[
    str | None, typer.Option("--url", help="The gateway's address; default the running stack's.")
]
StateOption = Annotated[Path | None, typer.Option("--state", help="State folder of that stack.")]
Version = Annotated[str, typer.Argument(help="For example 1.1.0.")]


@app.command("list")
def show(
    *,
    url: UrlOption = None,
    state: StateOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print for machines.")] = False,
) -> None:
    """Show all templates, newest first."""
    items = _call("GET", PATH, url, state).json()["items"]
    if as_json:
        print(json.dumps(items))  # noqa: T201 - the command's output
        return
    table = Table(box=None, pad_edge=False)
    for name in ("version", "state", "clauses", "created", "name"):
        table.add_column(name, no_wrap=name != "name")
    for item in items:
        standing = "active" if item["is_active"] else "deprecated" * bool(item["deprecated_at"])
        created, clauses = item["created_at"][:10], str(len(item["clauses"]))
        table.add_row(item["version"], standing or "ready", clauses, created, item["name"])
    out.print(table)


@app.command()
def create(
    file: Annotated[
        Path, typer.Argument(help="JSON: name, version, consent, clauses; - reads it from input.")
    ],
    *,
    url: UrlOption = None,
    state: StateOption = None,
) -> None:
    """Keep new words under their version; no contract is made of them until they are active."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
        terms = json.loads(text)
    except OSError as error:
        raise Misused(f"{file} cannot be read: {error.strerror}. Name a file of JSON.") from None
    except ValueError as error:
        raise Misused(f"{file} is no JSON: {error}. Start from another template's words.") from None
    kept = _call("POST", PATH, url, state, body=terms).json()
    out.print(f"Template {kept['version']} is kept. See it: templates preview {kept['version']}")


@app.command()
def preview(
    version: Version,
    *,
    to: Annotated[Path, typer.Option("--to", help="The PDF to write.")],
    url: UrlOption = None,
    state: StateOption = None,
) -> None:
    """Write a sample trade's document in these words."""
    document = _call("GET", f"{PATH}/{quote(version, safe='')}/preview", url, state).content
    try:
        to.write_bytes(document)
    except OSError as error:
        raise Misused(f"{to} cannot be written: {error.strerror}. Name another file.") from None
    out.print(f"Wrote {to}.", soft_wrap=True)


@app.command()
def activate(version: Version, *, url: UrlOption = None, state: StateOption = None) -> None:
    """Make all new contracts of it; contracts that exist keep their words."""
    _call("POST", f"{PATH}/{quote(version, safe='')}/activate", url, state)
    out.print(f"New contracts are made of template {version}.")


@app.command()
def deprecate(version: Version, *, url: UrlOption = None, state: StateOption = None) -> None:
    """End it for good; contracts made of it keep its words."""
    _call("POST", f"{PATH}/{quote(version, safe='')}/deprecate", url, state)
    out.print(f"Template {version} is deprecated.")


def _call(method: str, path: str, url: str | None, state: Path | None, *, body: Any = None) -> Any:
    """The answer; what the gateway refuses is a misuse that says what to do."""
    import httpx  # noqa: PLC0415 - a third of a second that --help need not spend

    token = os.environ.get(TOKEN, "").strip()
    if not token:
        raise Misused(f"{TOKEN} is not set. Put an access token into it.")
    gateway = (url or _running(state)).rstrip("/")
    try:
        answer = httpx.request(
            method,
            f"{gateway}{path}",
            json=body,
            headers={"Authorization": f"Bearer {token}"},
            timeout=TIMEOUT_SECONDS,
        )
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise Misused(f"{gateway} does not answer: {error}. Name another with --url.") from None
    if answer.is_success:
        return answer
    raise Misused(_refusal(answer.status_code, answer.text))


def _running(state: Path | None) -> str:
    home = open_home(state)
    try:
        ask(home, "status", [])
    except OSError:
        raise Misused("The stack is not up. Start it: bloxtr8 up; or name a --url.") from None
    return str(home.description()["gateway_url"])


def _refusal(status: int, text: str) -> str:
    try:
        problem = json.loads(text)
        said = str(problem.get("detail") or problem["title"])
        fields = [f"{one['field']}: {one['message']}" for one in problem.get("errors", [])]
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"The gateway answered {status}. See its logs: bloxtr8 logs gateway"
    remedy = {
        401: f" Put a new access token into {TOKEN}; one lasts 10 minutes.",
        403: " Use an admin's own token.",
    }
    return "\n  ".join([said + remedy.get(status, ""), *fields])
