"""What is left of strangers' files: pixels of images, PDF and text as they were, or nothing."""

import io
import zipfile
import zlib
from typing import Any

import pytest
from PIL import Image

from escrow.evidence.clean import Unfit, clean


def picture(declared: str = "PNG", size: tuple[int, int] = (3, 2), **options: Any) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(out, declared, **options)
    return out.getvalue()


def photograph() -> bytes:
    """Taken somewhere, turned by a quarter, with a comment."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "Cam"
    place = {1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)}
    exif.get_ifd(0x8825).update(place)
    return picture("JPEG", exif=exif, comment=b"at home")


def archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr("evil.js", "alert(1)")
    return out.getvalue()


def bomb() -> bytes:
    """36 million pixels in a few kilobytes."""
    good = picture()
    rows = zlib.compress(b"\0" * (6000 * 3 + 1) * 6000, 9)

    def chunk(name: bytes, data: bytes) -> bytes:
        check = zlib.crc32(name + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + name + data + check

    header = (6000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    return good[:8] + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def moving(declared: str) -> bytes:
    frames = [Image.new("RGB", (2, 2), (shade, 0, 0)) for shade in (0, 255)]
    out = io.BytesIO()
    frames[0].save(out, declared, save_all=True, append_images=frames[1:])
    return out.getvalue()


SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
PDF = b"%PDF-1.7\n1 0 obj <<>> endobj\ntrailer <<>>\n%%EOF\n"


async def test_a_photograph_keeps_its_pixels_and_nothing_else() -> None:
    raw = photograph()
    with Image.open(io.BytesIO(raw)) as before:
        assert dict(before.getexif().get_ifd(0x8825)) != {}
    kept = await clean(raw, "image/jpeg")
    with Image.open(io.BytesIO(kept)) as made:
        assert (made.format, made.size, made.mode) == ("JPEG", (2, 3), "RGB")
        assert dict(made.getexif()) == {}
        assert set(made.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    assert b"Exif" not in kept
    assert b"at home" not in kept


@pytest.mark.parametrize("declared", ["PNG", "JPEG", "WEBP"])
async def test_what_hides_behind_an_image_does_not_survive(declared: str) -> None:
    raw = picture(declared) + archive() + b"<script>alert(1)</script>"
    assert zipfile.is_zipfile(io.BytesIO(raw))
    kept = await clean(raw, f"image/{declared.lower()}")
    assert not zipfile.is_zipfile(io.BytesIO(kept))
    assert b"script" not in kept
    with Image.open(io.BytesIO(kept)) as made:
        assert (made.format, made.size) == (declared, (3, 2))


async def test_words_inside_an_image_do_not_survive() -> None:
    from PIL import PngImagePlugin  # noqa: PLC0415

    words = PngImagePlugin.PngInfo()
    words.add_text("Comment", "<?php evil ?>")
    raw = picture("PNG", pnginfo=words)
    assert b"evil" in raw
    assert b"evil" not in await clean(raw, "image/png")


@pytest.mark.parametrize(
    ("file", "content_type", "reason"),
    [
        (SVG, "image/png", "not a PNG image"),
        (picture("JPEG"), "image/png", "not a PNG image"),
        (picture("GIF"), "image/webp", "not a WEBP image"),
        (picture()[:40], "image/png", "not a PNG image"),
        (bomb(), "image/png", "more than 16000000 pixels"),
        (moving("PNG"), "image/png", "Moving pictures"),
        (moving("WEBP"), "image/webp", "Moving pictures"),
        (b"MZ\x90\0" + PDF, "application/pdf", "not a PDF"),
        (PDF + archive(), "application/pdf", "not a PDF"),
        (picture(), "application/pdf", "not a PDF"),
        (b"\x7fELF\x02\x01", "text/plain", "not plain text"),
        (b"\xe9t\xe9", "text/plain", "not plain text"),
    ],
)
async def test_a_file_that_is_not_what_it_says_is_refused(
    file: bytes, content_type: str, reason: str
) -> None:
    with pytest.raises(Unfit, match=reason):
        await clean(file, content_type)


@pytest.mark.parametrize(
    ("file", "content_type"),
    [(PDF, "application/pdf"), ("Hällo,\r\n\tda.".encode(), "text/plain"), (SVG, "text/plain")],
)
async def test_pdf_and_text_stay_as_they_are(file: bytes, content_type: str) -> None:
    assert await clean(file, content_type) == file


async def test_a_file_that_takes_too_long_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("escrow.evidence.clean.WITHIN_SECONDS", 0.001)
    with pytest.raises(Unfit, match="time and memory"):
        await clean(PDF, "application/pdf")
