"""Rules about the sources that no linter of ours knows."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.gate.conftest import ROOT, SOURCES

SIGNED_BY_KEY_PAIRS = {"ES256", "EdDSA", "RS256"}


def calls(*names: str) -> Iterator[tuple[Path, ast.Call]]:
    """Every call of these dotted names in the sources."""
    for source in SOURCES:
        for path in (ROOT / source / "src").rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in names:
                    yield path, node


def test_signatures_are_checked_against_algorithms_that_stand_in_the_call() -> None:
    found = 0
    for path, call in calls("jwt.decode", "jws.deserialize_compact", "jws.deserialize_json"):
        found += 1
        named = {keyword.arg: keyword.value for keyword in call.keywords}
        allowed = ast.literal_eval(named["algorithms"])
        assert isinstance(allowed, list), path
        assert allowed, path
        assert set(allowed) <= SIGNED_BY_KEY_PAIRS, path
    assert found >= 1
