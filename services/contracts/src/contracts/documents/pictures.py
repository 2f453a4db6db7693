"""Pictures from outside are decoded once, with limits, and encoded anew: what goes into a document
carries nothing but pixels.
"""

import io

from PIL import Image, ImageOps, UnidentifiedImageError

PIXELS = 192
"""Each side of what comes out."""
LARGEST_SIDE = 4096
"""What a picture says of its size is looked at before it is decoded."""
_FORMATS = ("PNG", "JPEG", "WEBP")


class NotAPicture(Exception):
    """It is none of the kinds that are taken, too large or damaged."""


def remade(data: bytes) -> bytes:
    """The picture as a JPEG of a fixed size, cut to a square, upright, on white, without metadata.

    Raises:
        NotAPicture
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            if max(picture.size) > LARGEST_SIDE:
                raise NotAPicture("it is larger than 4096 by 4096")
            upright = ImageOps.exif_transpose(picture).convert("RGBA")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError) as error:
        raise NotAPicture(str(error)) from error
    except SyntaxError as error:  # so Pillow names a broken PNG
        raise NotAPicture(str(error)) from error
    square = ImageOps.fit(upright, (PIXELS, PIXELS))
    white = Image.new("RGB", square.size, "white")
    white.paste(square, mask=square.getchannel("A"))
    file = io.BytesIO()
    white.save(file, "JPEG", quality=85)
    return file.getvalue()
