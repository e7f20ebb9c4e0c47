"""A scene before and after, with its mask between them, as one picture with a legend."""

from __future__ import annotations

import io
from dataclasses import asdict
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from algorithms.palettes import PALETTES, colour_table
from algorithms.removal import CloudMask, CloudRemoval
from algorithms.styles import DEFAULT_STYLE
from server.export.looking import Scenery
from server.http.looks import pictured

GAP_PIXELS: Final = 8
"""Between panels, and around them."""
LABEL_PIXELS: Final = 22
"""Height of the line of labels."""
FONT_PIXELS: Final = 14
"""Size of the labels."""
GROUND_BRIGHTNESS: Final = 0.55
"""Brightness of the ground under the mask."""
_PAPER: Final = (255, 255, 255)
_INK: Final = (33, 43, 54)

Colours = npt.NDArray[np.uint8]


def before_and_after(scenery: Scenery, algorithm: CloudRemoval, *, size: int, style: str = DEFAULT_STYLE.name) -> bytes:
    """A PNG of three panels: the scene as it is, its mask over a dimmed picture, and the scene without its clouds.

    Args:
        scenery: the scene and its replacements.
        algorithm: the fill's options.
        size: longer side of a panel, pixels.
        style: how the scene looks.

    Raises:
        ClearSkyError: a raster that cannot be read, bands that the style or the model does not find.
    """
    before = _colours(scenery, None, size=size, style=style)
    after = _colours(scenery, algorithm, size=size, style=style)
    mask = scenery.preview(CloudMask(**asdict(algorithm.options)), size=size)
    table = colour_table("cloud_mask")[np.where(mask.mask > 0, mask.array.data[0], 255)]
    grey = np.rint(GROUND_BRIGHTNESS * before[..., :3].mean(axis=-1, keepdims=True)).astype(np.uint8).repeat(3, axis=-1)
    marked = np.where(table[..., 3:] > 0, table[..., :3], grey)
    between = np.concatenate([marked, before[..., 3:]], axis=-1)
    return _sheet([("Before", before), ("Clouds", between), ("After", after)])


def _colours(scenery: Scenery, process: CloudRemoval | None, *, size: int, style: str) -> Colours:
    """(H, W, 4) red, green, blue and opacity of the scene."""
    image = scenery.preview(process, size=size, style=style, filled=process is not None)
    shown, colours = pictured(image)
    opacity = np.where(shown.mask > 0, 255, 0).astype(np.uint8)[..., None]
    values = shown.array.data.transpose(1, 2, 0).astype(np.uint8)
    if isinstance(colours, dict):
        table = np.array([colours[value][:3] for value in range(256)], np.uint8)
        values = table[values[..., 0]]
    elif values.shape[-1] != 3:
        values = values[..., :1].repeat(3, axis=-1)
    return np.concatenate([values, opacity], axis=-1)


def _sheet(panels: list[tuple[str, Colours]]) -> bytes:
    """Panels side by side under their labels, the legend of the mask next to the second."""
    height, width = panels[0][1].shape[:2]
    across = GAP_PIXELS + (width + GAP_PIXELS) * len(panels)
    sheet = Image.new("RGB", (across, height + LABEL_PIXELS + GAP_PIXELS), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_PIXELS)
    for number, (label, pixels) in enumerate(panels):
        left = GAP_PIXELS + (width + GAP_PIXELS) * number
        panel = Image.fromarray(pixels, "RGBA")
        sheet.paste(panel, (left, LABEL_PIXELS), panel)
        draw.text((left, LABEL_PIXELS // 2), label, fill=_INK, font=font, anchor="lm")
        if number == 1:
            _legend(draw, left + int(draw.textlength(label, font=font)) + 2 * GAP_PIXELS, left + width, font)
    content = io.BytesIO()
    sheet.save(content, "PNG", optimize=False, compress_level=6)
    return content.getvalue()


def _legend(draw: ImageDraw.ImageDraw, left: int, end: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> None:
    """The classes of the mask with their colours, from a column to another, as many as fit."""
    middle, side = LABEL_PIXELS // 2, FONT_PIXELS - 4
    for part in PALETTES["cloud_mask"]:
        if left + side + GAP_PIXELS + draw.textlength(part.label, font=font) > end:
            return  # a narrow panel
        draw.rectangle((left, middle - side // 2, left + side, middle + side // 2), fill=part.colour)
        left += side + GAP_PIXELS // 2
        draw.text((left, middle), part.label, fill=_INK, font=font, anchor="lm")
        left += int(draw.textlength(part.label, font=font)) + 2 * GAP_PIXELS
