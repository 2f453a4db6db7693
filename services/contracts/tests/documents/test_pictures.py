"""Pictures from outside come out small, plain and the same size, or not at all."""

import io
import struct
import zlib

import pypdf
import pytest
from PIL import Image
from services.contracts.tests.documents.test_contract import TERMS, draft_of, fixed_deal

from contracts.documents.inputs import Draft
from contracts.documents.pictures import PIXELS, NotAPicture, remade
from contracts.documents.press import Press, PressFailed
from contracts.documents.rendering import Renderer


def encoded(
    kind: str = "PNG", *, mode: str = "RGB", colour: object = "red", **more: object
) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (64, 32), colour).save(file, kind, **more)  # type: ignore[arg-type]
    return file.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG of a few bytes that would fill the memory."""

    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rows + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_comes_out_as_a_square_jpeg(kind: str) -> None:
    with Image.open(io.BytesIO(remade(encoded(kind)))) as picture:
        assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (PIXELS, PIXELS))
        red, green, blue = picture.getpixel((96, 96))  # type: ignore[misc]
        assert red > 240
        assert max(green, blue) < 15


def test_what_is_transparent_comes_out_white() -> None:
    with Image.open(io.BytesIO(remade(encoded(mode="RGBA", colour=(0, 0, 0, 0))))) as picture:
        assert picture.getpixel((5, 5)) == (255, 255, 255)


def test_nothing_but_pixels_is_kept() -> None:
    exif = Image.Exif()
    exif[0x010E] = "at home"
    exif.get_ifd(0x8825)[1] = "N"
    out = remade(encoded("JPEG", exif=exif, comment=b"secret") + b"<script>tail</script>")
    with Image.open(io.BytesIO(out)) as picture:
        assert dict(picture.getexif()) == {}
        assert "comment" not in picture.info
    assert not any(word in out for word in (b"at home", b"secret", b"script", b"Exif"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"%PDF-1.7",
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"#define x_width 8\n#define x_height 8\nstatic char x_bits[] = {0};",
        encoded("GIF"),
        encoded("TIFF"),
        encoded()[:-30],
        png_that_claims(50_000, 50_000),
        png_that_claims(4097, 1),
        png_that_claims(0, 1),
    ],
    ids=["empty", "pdf", "svg", "eps", "xbm", "gif", "tiff", "cut", "bomb", "wide", "flat"],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(NotAPicture):
        remade(data)


async def test_the_press_refuses_and_goes_on(press: Press) -> None:
    with pytest.raises(PressFailed, match="NotAPicture"):
        await press.remake(b"<svg/>")
    assert (await press.remake(encoded())).startswith(b"\xff\xd8\xff")


def test_the_document_holds_the_picture_byte_for_byte() -> None:
    picture = remade(encoded())
    draft = Draft.model_validate(draft_of(fixed_deal())).model_copy(update={"thumbnail": picture})
    document = Renderer().render(draft.model_dump(mode="json"), TERMS)
    [image] = pypdf.PdfReader(io.BytesIO(document)).pages[0].images
    assert image.data == picture
    assert Renderer().render(draft.model_dump(mode="json"), TERMS) == document
