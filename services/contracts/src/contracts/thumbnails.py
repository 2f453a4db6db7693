"""The game's picture, fetched from where Roblox says it is; an address is never trusted."""

import asyncio
import ipaddress
import socket

import httpx

LARGEST_BYTES = 5 * 1024 * 1024
WITHIN_SECONDS = 5.0
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class NoThumbnail(Exception):
    """There is none to be had there, now or later; says why."""


class ThumbnailUnavailable(Exception):
    """It may be had later."""


async def fetch(address: str, origin: str | None = None) -> bytes:
    """What lies at an https address on a public network, 5 MB at most; no redirect is followed.

    The name is resolved once, and the connection goes to the address that was looked at.

    Args:
        address: where Roblox says the picture is.
        origin: from here it is taken whatever its scheme and network.

    Raises:
        NoThumbnail, ThumbnailUnavailable
    """
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL as error:
        raise NoThumbnail("its address is malformed") from error
    try:
        async with asyncio.timeout(WITHIN_SECONDS):
            if origin is None or not _is_of(url, httpx.URL(origin)):
                return await _read(url, await _public(url))
            return await _read(url, url.host)
    except (httpx.HTTPError, TimeoutError, socket.gaierror) as error:
        raise ThumbnailUnavailable(type(error).__name__) from error


def _is_of(url: httpx.URL, origin: httpx.URL) -> bool:
    parts = [(one.scheme, one.host, one.port, one.userinfo) for one in (url, origin)]
    return parts[0] == parts[1]


async def _public(url: httpx.URL) -> str:
    """The one address to connect to; all that the name stands for must be public."""
    if url.scheme != "https" or url.userinfo or not url.host or url.port is not None:
        raise NoThumbnail("its address is not a plain https one")
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(url.host, 443, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise NoThumbnail("its host is no name") from error
    addresses = [str(place[0]) for *_, place in found]
    if not all(map(_is_public, addresses)):
        raise NoThumbnail("its address is not on a public network")
    return addresses[0]


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        within = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if within is not None:
            return _is_public(str(within))
        if ip in _NAT64:
            return False
    return ip.is_global and not ip.is_multicast


async def _read(url: httpx.URL, host: str) -> bytes:
    async with (
        httpx.AsyncClient(trust_env=False, timeout=WITHIN_SECONDS) as client,
        client.stream(
            "GET",
            url.copy_with(host=host),
            headers={"Host": url.netloc.decode(), "Accept-Encoding": "identity"},
            extensions={"sni_hostname": url.host},
        ) as answer,
    ):
        if answer.status_code == 429 or answer.status_code >= 500:
            raise ThumbnailUnavailable(f"status {answer.status_code}")
        if answer.status_code != 200:
            raise NoThumbnail(f"status {answer.status_code}")
        data = bytearray()
        async for part in answer.aiter_raw():
            data += part
            if len(data) > LARGEST_BYTES:
                raise NoThumbnail("it is larger than 5 MB")
        return bytes(data)
