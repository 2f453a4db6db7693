"""Strangers' files are checked in a process of their own, one a file, with little memory and time:
`python -m escrow.evidence.clean CONTENT_TYPE < file > answer`.

A file must be what it says by its first bytes and its last. An image is decoded and made anew from
its pixels, so nothing else that was in it is left: no EXIF, no place, no second file behind it. PDF
and text are never rendered by us; they are kept as they are and only ever offered for download.
The process has no key, no login and no settings.
"""

import asyncio
import io
import os
import resource
import sys
import warnings

WITHIN_SECONDS = 20.0
CPU_SECONDS = 15
MEMORY_BYTES = 512 * 1024 * 1024
LARGEST_IMAGE_PIXELS = 16_000_000
LARGEST_CLEAN_BYTES = 20 * 1024 * 1024
_FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}
_CLEAN, _UNFIT = b"+", b"-"


class Unfit(Exception):
    """The file is refused; the text tells its uploader why."""


async def clean(file: bytes, content_type: str) -> bytes:
    """The bytes that may be kept of a file that anybody may have made.

    Raises:
        Unfit: none.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "escrow.evidence.clean", content_type),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        },
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(WITHIN_SECONDS):
            answer, _ = await process.communicate(file)
    except TimeoutError:
        answer = b""
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    kind, rest = answer[:1], answer[1:]
    if kind == _CLEAN and process.returncode == 0:
        return rest
    if kind == _UNFIT:
        raise Unfit(rest.decode(errors="replace"))
    raise Unfit("The file could not be examined in the time and memory given.")


def _look_at(file: bytes, content_type: str) -> bytes:
    """Raises: Unfit."""
    if content_type in _FORMATS:
        return _image(file, _FORMATS[content_type])
    if content_type == "application/pdf":
        if not file.startswith(b"%PDF-") or not file.rstrip().endswith(b"%%EOF"):
            raise Unfit("It is not a PDF from its first byte to its last.")
        return file
    try:
        is_text = not any(ord(sign) < 32 and sign not in "\t\n\r\f" for sign in file.decode())
    except UnicodeDecodeError:
        is_text = False
    if not is_text:
        raise Unfit("It is not plain text in UTF-8.")
    return file


def _image(file: bytes, declared: str) -> bytes:
    # Imported here: only this process pays for it, and only for images.
    from PIL import Image, ImageOps  # noqa: PLC0415

    Image.MAX_IMAGE_PIXELS = LARGEST_IMAGE_PIXELS
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    try:
        with Image.open(io.BytesIO(file), formats=[declared]) as opened:
            if declared != "JPEG" and getattr(opened, "n_frames", 1) > 1:
                raise Unfit("Moving pictures are not accepted.")
            ImageOps.exif_transpose(opened, in_place=True)
            made = opened.convert("RGBA" if opened.has_transparency_data else "RGB")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Unfit(f"The image has more than {LARGEST_IMAGE_PIXELS} pixels.") from None
    except (OSError, SyntaxError, ValueError, OverflowError, EOFError):
        raise Unfit(f"It is not a {declared} image that can be read.") from None
    made.info.clear()
    out = io.BytesIO()
    made.save(out, declared, **({} if declared == "PNG" else {"quality": 90}))
    if out.tell() > LARGEST_CLEAN_BYTES:
        raise Unfit("The image is too detailed to be kept; make it smaller.")
    return out.getvalue()


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _main() -> None:
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not end up in the answer
    _limit()
    try:
        answer = _CLEAN + _look_at(sys.stdin.buffer.read(), sys.argv[1])
    except Unfit as refusal:
        answer = _UNFIT + str(refusal).encode()
    out.write(answer)
    out.flush()


if __name__ == "__main__":
    _main()
