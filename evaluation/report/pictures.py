"""Pictures inside a Markdown page, for pages that lie in a server's database and cannot link to a file."""

import base64
import io
import re
from pathlib import Path

from PIL import Image

COLOURS = 32
"""Of a small picture. A plot is drawn in a handful; the rest are the soft edges of its letters and lines."""
_PICTURE = re.compile(r"!\[(?P<seen>(?:\\.|[^\]\\])*)\]\((?P<path>[^):]+\.png)\)")


def small_png(content: bytes) -> bytes:
    """The picture in few colours, at its full size: a quarter of the bytes, and no eye tells the two apart."""
    small = io.BytesIO()
    with Image.open(io.BytesIO(content)) as picture:
        few = picture.convert("RGB").quantize(colors=COLOURS, dither=Image.Dither.NONE)
    few.save(small, "PNG", optimize=True)
    return small.getvalue()


def data_uri(content: bytes) -> str:
    """A PNG as an address that holds the picture itself."""
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")


def with_pictures_inside(text: str, folder: Path, *, most_characters: int) -> str:
    """A Markdown page with its PNGs inside it, at most so long; it says what it leaves out.

    Args:
        text: Markdown that names pictures relative to `folder`.
        folder: Where they lie.
        most_characters: Of the whole. Pictures go in by their order, as long as there is room; a page that is too
            long without any ends after its last section that fits.
    """
    text = _shortened(text, most_characters)
    room = most_characters - len(text)
    parts, end = [], 0
    for found in _PICTURE.finditer(text):
        inside = _inside(found, folder)
        if len(inside) - len(found.group()) > room:
            inside = f"*A plot is left out here, because this page would be too long: {found['seen']}*"
        room -= len(inside) - len(found.group())
        parts += [text[end : found.start()], inside]
        end = found.end()
    return "".join([*parts, text[end:]])


def _inside(found: re.Match[str], folder: Path) -> str:
    path = folder / found["path"]
    if not path.is_file():
        return f"*{path.name} is missing: {found['seen']}*"
    return f"![{found['seen']}]({data_uri(small_png(path.read_bytes()))})"


def _shortened(text: str, most_characters: int) -> str:
    if len(text) <= most_characters:
        return text
    ends = "\n\n*The rest is left out, because this page would be too long.*\n"
    kept = text[: most_characters - len(ends)]
    section = kept.rfind("\n## ")
    return (kept[:section] if section > 0 else kept) + ends
