"""Keeps published events readable: by readers older than the writer and by newer ones.

`check` compares the models with the schemas in docs/events, and those with what git has: a change
that an old reader or an old writer could not live with is refused. `accept` writes the schemas.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonsubschema import isSubschema

from shared.events import ALL_EVENTS, Event

Schema = dict[str, Any]
BASELINES = ("HEAD", "HEAD~1", "origin/main")
ACCEPT = ".venv/bin/python deploy/checks/events.py accept"
_COMPARED = {
    *("type", "properties", "required", "items", "anyOf", "allOf", "enum", "const"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    *("minLength", "maxLength", "pattern", "additionalProperties", "minItems", "maxItems"),
}


def schema_of(event: type[Event]) -> Schema:
    """What the event's message body looks like."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"https://bloxtr8.dev/events/{event.topic}.json",
        **event.model_json_schema(mode="validation"),
    }


def incompatibilities(old: Schema, new: Schema) -> list[str]:
    """Why readers and writers of these two versions cannot live together; empty if they can."""
    old, new = _plain(old, old.get("$defs", {})), _plain(new, new.get("$defs", {}))
    found = [f"{path} is gone" for path in _paths(old) if path not in set(_paths(new))]
    if not isSubschema(_closed(old), new):
        found.append("a new reader refuses what an old writer says" + _blame(old, new))
    if not isSubschema(_closed(new), old):
        found.append("an old reader refuses what a new writer says" + _blame(new, old))
    return found


def _blame(written: Schema, read: Schema) -> str:
    """The fields of the top level that do not fit, for the message."""
    ours, theirs = written["properties"], read["properties"]
    names = [name for name in ours if name in theirs]
    unfit = [name for name in names if not isSubschema(_closed(ours[name]), theirs[name])]
    unfit += sorted(set(read.get("required", [])) - set(written.get("required", [])))
    return f": {', '.join(unfit)}" if unfit else ""


def _plain(node: Any, definitions: Schema) -> Any:
    """The schema with its references resolved, in the words the comparison understands."""
    if isinstance(node, list):
        return [_plain(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _plain(definitions[node["$ref"].rpartition("/")[2]], definitions)
    if "format" in node:  # a format is a set of texts that no other format shares
        return {"type": "string", "enum": [_word(f"any {node['format']}")]}
    kept = {
        word: (
            {name: _plain(item, definitions) for name, item in value.items()}
            if word == "properties"
            else _plain(value, definitions)
        )
        for word, value in node.items()
        if word in _COMPARED
    }
    if "const" in kept:
        kept["enum"] = [kept.pop("const")]
    if "enum" in kept:
        kept["enum"] = [_word(value) for value in kept["enum"]]
    return kept


def _word(value: Any) -> Any:
    # The comparison makes regular expressions of texts and cannot read the escapes it then needs.
    if not isinstance(value, str):
        return value
    return "".join(c if c.isalnum() else f"u{ord(c)}u" for c in value)


def _closed(node: Any) -> Any:
    """The schema of a writer: it says nothing but the fields it knows."""
    if isinstance(node, list):
        return [_closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    closed = {
        word: (
            {name: _closed(item) for name, item in value.items()}
            if word == "properties"
            else _closed(value)
        )
        for word, value in node.items()
    }
    if "properties" in closed:
        closed["additionalProperties"] = False
    return closed


def _paths(node: Any, path: str = "") -> Iterator[str]:
    if isinstance(node, list):
        for item in node:
            yield from _paths(item, path)
    elif isinstance(node, dict):
        for name, item in node.get("properties", {}).items():
            yield f"{path}{name}"
            yield from _paths(item, f"{path}{name}.")
        yield from _paths([node.get("items"), node.get("anyOf"), node.get("allOf")], path)


def render(schema: Schema) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def listing() -> str:
    """docs/events.md: every event on one line, and its fields."""
    lines = [
        "# Published events",
        "",
        "Generated from `shared.events` by `deploy/checks/events.py accept`. Headers are those of",
        "CloudEvents 1.0 in Kafka's binary mode plus `traceparent` and `correlation_id`; the body",
        "is JSON. The exact shape of each is in `events/<topic>.json`.",
        "",
        "| topic | said by | key | kept | fields |",
        "|---|---|---|---|---|",
    ]
    for topic, event in sorted(ALL_EVENTS.items()):
        kept = "last of each key" if event.compacted else "7 days"
        fields = ", ".join(
            f"`{name}`" + ("" if field.is_required() else "?")
            for name, field in event.model_fields.items()
        )
        key = " + ".join(f"`{field}`" for field in event.key_fields)
        lines.append(
            f"| [{topic}](events/{topic}.json) | {event.source} | {key} | {kept} | {fields} |"
        )
    return "\n".join(lines) + "\n"


def committed(root: Path, revision: str) -> dict[str, Schema]:
    """The schemas by topic as they are in a revision; empty when git does not know it."""
    listed = _git(root, "ls-tree", "--name-only", revision, "docs/events/")
    return {
        Path(name).name.removesuffix(".json"): json.loads(_git(root, "show", f"{revision}:{name}"))
        for name in listed.splitlines()
        if name.endswith(".json")
    }


def _git(root: Path, *arguments: str) -> str:
    if not (root / ".git").exists():
        return ""
    told = subprocess.run(  # noqa: S603 - fixed words and revisions of our own
        ["git", "-C", str(root), *arguments],  # noqa: S607 - wherever git is installed
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout if told.returncode == 0 else ""


def on_disk(root: Path) -> dict[str, Schema]:
    folder = root / "docs" / "events"
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def check(root: Path) -> list[str]:
    """Everything that is wrong, one sentence each."""
    models = {topic: schema_of(event) for topic, event in ALL_EVENTS.items()}
    written = on_disk(root)
    known = [("docs/events", written)]
    known += [(revision, committed(root, revision)) for revision in BASELINES]
    problems = [
        problem
        for name, baseline in known
        for topic, old in baseline.items()
        for problem in _against(name, topic, old, models.get(topic))
    ]
    if not problems:
        stale = sorted(topic for topic in models if written.get(topic) != models[topic])
        problems += [f"{topic}: new or changed compatibly; accept it: {ACCEPT}" for topic in stale]
    if not problems and (root / "docs" / "events.md").read_text() != listing():
        problems.append(f"docs/events.md is not up to date: {ACCEPT}")
    return problems


def _against(name: str, topic: str, old: Schema, new: Schema | None) -> list[str]:
    if new is None:
        return [f"{topic}: {name} has this event, the code no longer does"]
    reasons = incompatibilities(old, new) if old != new else []
    return [f"{topic}: {reason} (against {name})" for reason in reasons]


def accept(root: Path) -> None:
    """Write the schemas of the models as they now are."""
    folder = root / "docs" / "events"
    folder.mkdir(parents=True, exist_ok=True)
    for topic, event in ALL_EVENTS.items():
        (folder / f"{topic}.json").write_text(render(schema_of(event)))
    (root / "docs" / "events.md").write_text(listing())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["check", "accept"])
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[2])
    parser.add_argument("--breaking", action="store_true", help="accept what breaks old readers")
    options = parser.parse_args()
    problems = check(options.root) if options.action == "check" or not options.breaking else []
    if options.action == "accept":
        problems = [problem for problem in problems if ACCEPT not in problem]
    if problems:
        sys.stderr.write("\n".join(problems) + "\n")
        sys.stderr.write("A change that breaks readers or writers is a new topic: <topic>.v2\n")
        sys.exit(1)
    if options.action == "accept":
        accept(options.root)
    sys.stdout.write(f"{len(ALL_EVENTS)} events are as published\n")


if __name__ == "__main__":
    main()
