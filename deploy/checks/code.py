"""Refuses code that could lose a message, or tell a secret by the time it takes.

A subscriber without NACK_ON_ERROR commits offsets on a timer, which is FastStream's default: a
killed handler loses its message. A secret compared with `==` is guessed byte by byte: it is for
`compare_digest`, or is looked up by its hash.
"""

import ast
import re
import sys
from pathlib import Path

POLICY = "NACK_ON_ERROR"
_SECRET = re.compile(
    r"(?:^|_)(?:secret|signature|password|passphrase|token|hmac|mac|api_key|otp|verifier)s?$",
    re.IGNORECASE,
)


def unsafe_subscriber(node: ast.AST) -> str | None:
    """A call like `broker.subscriber(...)` must say the policy itself: a value from elsewhere
    proves nothing.
    """
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return None
    if node.func.attr != "subscriber":
        return None
    says = (word.value for word in node.keywords if word.arg == "ack_policy")
    is_safe = any(isinstance(value, ast.Attribute) and value.attr == POLICY for value in says)
    return None if is_safe else f"subscriber without AckPolicy.{POLICY}"


def compared_secret(node: ast.AST) -> str | None:
    """A value compared with something that is named as a secret, and not with nothing."""
    if not isinstance(node, ast.Compare):
        return None
    sides = (node.left, *node.comparators)
    is_by_value = not isinstance(node.ops[0], (ast.Is, ast.IsNot))
    named = [name for name in map(_name, sides) if _SECRET.search(name)]
    is_absence = any(isinstance(side, ast.Constant) and not side.value for side in sides)
    if not named or not is_by_value or is_absence:
        return None
    return f"{named[0]} compared by {ast.unparse(node)}: use compare_digest"


def _name(node: ast.AST) -> str:
    """The last word of what is called, read or looked up."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(slice=ast.Constant(value=str(name))):
            return name
        case ast.Call(func=called):
            return _name(called)
    return ""


def main() -> None:
    paths = [
        path for folder in sys.argv[1:] for path in sorted(Path(folder).glob("**/src/**/*.py"))
    ]
    complaints = [
        f"{path}:{node.lineno}: {complaint}"
        for path in paths
        for node in ast.walk(ast.parse(path.read_text(), str(path)))
        for complaint in (unsafe_subscriber(node), compared_secret(node))
        if complaint is not None and isinstance(node, ast.expr)
    ]
    if complaints:
        sys.exit("\n".join(complaints))
    sys.stdout.write(f"{len(paths)} files: subscribers are {POLICY}, secrets are not compared\n")


if __name__ == "__main__":
    main()
