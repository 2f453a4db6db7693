"""Objects of PDF (ISO 32000-1) spelt out, and a new file of them, without clock or chance."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Protocol

_HEAD = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"


class Pages(Protocol):
    """A file that pages are added to."""

    tree: str
    """How pages refer to what holds them."""

    def add(self, spelt: bytes) -> str:
        """Put an object in; how others refer to it."""


class NewFile:
    """A file that begins here; the same objects in the same order make the same bytes."""

    def __init__(self) -> None:
        self._objects = [b""]
        self.tree = "1 0 R"

    def add(self, spelt: bytes) -> str:
        self._objects.append(spelt)
        return f"{len(self._objects)} 0 R"

    def finished(self, pages: Sequence[str], about: dict[str, str]) -> bytes:
        """The whole file; nothing can be added any more."""
        self._objects[0] = dictionary(
            Type="/Pages", Kids=f"[{' '.join(pages)}]", Count=str(len(pages))
        )
        catalog = self.add(dictionary(Type="/Catalog", Pages=self.tree, Lang=literal("en")))
        info = self.add(dictionary(**{name: literal(text) for name, text in about.items()}))
        spelt = [
            b"%d 0 obj\n%s\nendobj\n" % (number, content)
            for number, content in enumerate(self._objects, 1)
        ]
        number = f"<{hashlib.sha256(b''.join(spelt)).hexdigest()[:32]}>"
        trailer = dictionary(
            Size=str(len(spelt) + 1), Root=catalog, Info=info, ID=f"[{number} {number}]"
        )
        return b"".join((_HEAD, *spelt, _places(spelt), b"trailer\n", trailer, _end(spelt)))


def dictionary(**entries: str) -> bytes:
    """Keys are names that stand for themselves, values already spelt."""
    return f"<< {' '.join(f'/{name} {value}' for name, value in entries.items())} >>".encode()


def stream(content: bytes, **entries: str) -> bytes:
    """Bytes kept as they are."""
    head = dictionary(**entries, Length=str(len(content)))
    return b"%s\nstream\n%s\nendstream" % (head, content)


def literal(text: str) -> str:
    """A text string of ASCII."""
    escaped = text.translate({ord(sign): f"\\{sign}" for sign in "\\()"})
    return f"({escaped.encode('ascii').decode()})"


def _places(spelt: Iterable[bytes]) -> bytes:
    """Where each object begins."""
    lines, place = [b"0000000000 65535 f \n"], len(_HEAD)
    for one in spelt:
        lines.append(b"%010d 00000 n \n" % place)
        place += len(one)
    return b"xref\n0 %d\n%s" % (len(lines), b"".join(lines))


def _end(spelt: Iterable[bytes]) -> bytes:
    return b"\nstartxref\n%d\n%%%%EOF\n" % (len(_HEAD) + sum(map(len, spelt)))
