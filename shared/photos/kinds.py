"""Files that are not read, by their first bytes, and what they are called."""

from typing import Final

from shared.errors import NotAPhotoError, UnreadPhotoError

READ: Final = "Send a JPEG, PNG, WebP, HEIC, AVIF, TIFF, GIF or BMP image."
# Pictures: whoever sends one should be told that it is not read.
_PICTURES: Final = (
    (0, b"\xff\x0a", "a JPEG XL image"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
    (0, b"\xff\xd8\xff\xf7", "a JPEG-LS image"),
    (0, b"II\xbc", "a JPEG XR image"),
    (0, b"8BPS\0\2", "a large Photoshop document (PSB)"),
    (0, b"v/1\x01", "an OpenEXR image"),
    (0, b"#?RADIANCE", "a Radiance HDR image"),
    (0, b"#?RGBE", "a Radiance HDR image"),
    (0, b"gimp xcf", "a GIMP document (XCF)"),
    (0, b"BPG\xfb", "a BPG image"),
    (0, b"FLIF", "a FLIF image"),
    (0, b"AT&TFORM", "a DjVu document"),
    (0, b"P7\nWIDTH", "a PAM image"),
    (0, b"SIMPLE  =", "a FITS image"),
    (0, b"MM\0+", "a big-endian BigTIFF"),
    (128, b"DICM", "a DICOM image"),
    (12, b"CgBI", "a PNG made for apps on iPhones (CgBI)"),
)
# What is no photo, but is taken for one, or sent by mistake.
_OTHERS: Final = (
    (0, b"%PDF-", "a PDF document"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"\xc5\xd0\xd3\xc6", "a PostScript document"),
    (0, b"PK\3\4", "a ZIP archive or an office document"),
    (0, b"Rar!\x1a\7", "a RAR archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"\x1f\x8b\x08", "a gzip archive"),
    (0, b"\0\0\1\0", "an icon"),
    (0, b"icns", "an icon"),
    (0, b"\x1aE\xdf\xa3", "a video"),
    (4, b"moov", "a video"),
    (4, b"ftypqt  ", "a video"),
    (4, b"ftypisom", "a video"),
    (4, b"ftypiso2", "a video"),
    (4, b"ftypmp4", "a video"),
    (4, b"ftypM4V", "a video"),
    (4, b"ftyp3g", "a video"),
    (4, b"ftypavc1", "a video"),
)
_MARKUP: Final = ((b"<svg", "an SVG drawing"), (b"<!doctype html", "a web page"), (b"<html", "a web page"))
HEAD_BYTES: Final = 512


def unread(name: str) -> UnreadPhotoError:
    """Return the error for a picture of a kind that is not read."""
    return UnreadPhotoError(f"This is {name}, which can't be read here. {READ}")


def require_none_of_them(head: bytes) -> None:
    """Refuse a file that begins like one that is known, and not read.

    Raises:
        UnreadPhotoError: a picture.
        NotAPhotoError: something else.
    """
    for place, signature, name in _PICTURES:
        if head.startswith(signature, place):
            raise unread(name)
    for place, signature, name in _OTHERS:
        if head.startswith(signature, place):
            raise _no_photo(name)
    if head.startswith(b"8BPS\0\1") and (depth := int.from_bytes(head[22:24])) > 8:  # noqa: PLR2004
        raise unread(f"a Photoshop document with {depth} bits per channel")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        for mark, name in _MARKUP:
            if mark in head.lower():
                raise _no_photo(name)


def _no_photo(name: str) -> NotAPhotoError:
    return NotAPhotoError(f"This is {name}, not a photo. {READ}")
