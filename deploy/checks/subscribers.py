"""Refuses every Kafka subscriber that could lose a message or spin: none without NACK_ON_ERROR.

FastStream's default commits offsets on a timer, so a killed handler loses its message.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

POLICY = "NACK_ON_ERROR"


def subscriptions(tree: ast.AST) -> Iterator[ast.Call]:
    """Every call that makes a subscriber: `broker.subscriber(...)`, `router.subscriber(...)`."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "subscriber"
        ):
            yield node


def is_safe(call: ast.Call) -> bool:
    """Whether the policy is said in the call itself; a value from elsewhere proves nothing."""
    return any(
        keyword.arg == "ack_policy"
        and isinstance(keyword.value, ast.Attribute)
        and keyword.value.attr == POLICY
        for keyword in call.keywords
    )


def main() -> None:
    checked, unsafe = 0, []
    for folder in map(Path, sys.argv[1:]):
        for path in sorted(folder.glob("**/src/**/*.py")):
            for call in subscriptions(ast.parse(path.read_text(), str(path))):
                checked += 1
                if not is_safe(call):
                    unsafe.append(f"{path}:{call.lineno}: subscriber without AckPolicy.{POLICY}")
    if unsafe:
        sys.exit("\n".join(unsafe))
    sys.stdout.write(f"{checked} subscriber declarations, all {POLICY}\n")


if __name__ == "__main__":
    main()
