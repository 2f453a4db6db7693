"""A thumbnail's address leads nowhere but to a public https server, once, and not for long."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from contracts import thumbnails
from contracts.thumbnails import NoThumbnail, ThumbnailUnavailable, fetch


@dataclass
class Trap:
    """A server on this machine; what it is asked for is kept."""

    origin: str = ""
    answer: bytes = b""
    asked: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(said.split(b"\r\n")[0].decode())
        writer.write(self.answer)
        await writer.drain()
        if not self.answer.endswith(b"hang"):
            writer.close()


@pytest.fixture
async def trap() -> AsyncIterator[Trap]:
    trap = Trap()
    server = await asyncio.start_server(trap.serve, "127.0.0.1", 0)
    trap.origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield trap
    server.close()


@pytest.mark.parametrize(
    "address",
    [
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://[::ffff:10.0.0.1]/x",
        "https://[64:ff9b::7f00:1]/x",
        "https://[2002:7f00:1::]/x",
        "https://[fe80::1]/x",
        "https://[fc00::1]/x",
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/x",
        "https://172.16.0.1/x",
        "https://192.168.1.1/x",
        "https://100.64.0.1/x",
        "https://0.0.0.0/x",
        "https://224.0.0.1/x",
        "https://2130706433/x",
        "https://0177.0.0.1/x",
        "https://0x7f.1/x",
        "https://localhost/x",
        "http://93.184.216.34/x",
        "https://93.184.216.34:22/x",
        "https://name:word@93.184.216.34/x",
        "file:///etc/passwd",
        "gopher://93.184.216.34/x",
        "ftp://93.184.216.34/x",
        "data:image/png;base64,AAAA",
        "https:///x",
        "//93.184.216.34/x",
        "",
        "https://[::1/x",
        f"https://{'a' * 70}.example/x",
    ],
)
async def test_it_is_not_fetched_from_there(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connections = connecting(monkeypatch)
    with pytest.raises(NoThumbnail):
        await fetch(address, "http://127.0.0.1:9")
    assert connections == []


def connecting(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """To where connections were made, which all fail."""
    made: list[tuple[Any, Any]] = []

    async def connect(_: object, __: object, host: object, port: object, **___: object) -> None:
        made.append((host, port))
        raise OSError("no network in tests")

    monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", connect)
    return made


def names(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """A name server that gives one answer after the other; what it was asked for."""
    asked: list[str] = []
    left = iter(answers)

    async def look_up(_: object, host: str, *__: object, **___: object) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 443)) for one in next(left)]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", look_up)
    return asked


async def test_a_name_that_stands_for_a_private_address_as_well_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connections = connecting(monkeypatch)
    names(monkeypatch, ["93.184.216.34", "127.0.0.1"])
    with pytest.raises(NoThumbnail, match="public network"):
        await fetch("https://tr.rbxcdn.com/x")
    assert connections == []


async def test_a_name_that_changes_is_connected_to_where_it_was_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connections = connecting(monkeypatch)
    asked = names(monkeypatch, ["93.184.216.34"], ["127.0.0.1"])
    with pytest.raises(ThumbnailUnavailable):
        await fetch("https://tr.rbxcdn.com/x")
    assert asked == ["tr.rbxcdn.com"]
    assert connections == [("93.184.216.34", 443)]


async def test_it_is_fetched_from_the_origin_of_the_settings_alone(trap: Trap) -> None:
    trap.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\npng"
    assert await fetch(f"{trap.origin}/a.png", trap.origin) == b"png"
    for origin in (None, "http://127.0.0.1:9", trap.origin.replace("127.0.0.1", "localhost")):
        with pytest.raises(NoThumbnail):
            await fetch(f"{trap.origin}/b.png", origin)
    assert trap.asked == ["GET /a.png HTTP/1.1"]


@pytest.mark.parametrize(
    ("answer", "refusal"),
    [
        (b"302 Found\r\nLocation: /other", NoThumbnail),
        (b"301 Moved\r\nLocation: file:///etc/passwd", NoThumbnail),
        (b"404 Not Found", NoThumbnail),
        (b"429 Too Many Requests", ThumbnailUnavailable),
        (b"503 Service Unavailable", ThumbnailUnavailable),
    ],
)
async def test_no_redirect_is_followed_and_no_error_is_a_picture(
    trap: Trap, answer: bytes, refusal: type[Exception]
) -> None:
    trap.answer = b"HTTP/1.1 " + answer + b"\r\nContent-Length: 0\r\n\r\n"
    with pytest.raises(refusal):
        await fetch(f"{trap.origin}/a.png", trap.origin)
    assert len(trap.asked) == 1


async def test_more_than_5_mb_is_not_read(trap: Trap) -> None:
    body = b"x" * (thumbnails.LARGEST_BYTES + 1)
    trap.answer = b"HTTP/1.1 200 OK\r\n\r\n" + body[:-1]
    assert len(await fetch(f"{trap.origin}/a", trap.origin)) == thumbnails.LARGEST_BYTES
    trap.answer = b"HTTP/1.1 200 OK\r\n\r\n" + body
    with pytest.raises(NoThumbnail, match="larger than 5 MB"):
        await fetch(f"{trap.origin}/a", trap.origin)


async def test_an_answer_that_never_ends_is_given_up(
    trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnails, "WITHIN_SECONDS", 0.1)
    trap.answer = b"HTTP/1.1 200 OK\r\n\r\nhang"
    with pytest.raises(ThumbnailUnavailable):
        await fetch(f"{trap.origin}/a", trap.origin)
