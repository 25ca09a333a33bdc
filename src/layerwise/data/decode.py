"""Bytes to pixels: the one function that makes them for training, prediction, serving and export.

What is read: JPEG, PNG, WebP, BMP, TIFF and GIF, told by their first bytes and never by their name; no other reader
of Pillow is ever entered. What is made of them:

- EXIF orientation is applied. ICC profiles are ignored, as in every published ImageNet pipeline.
- Of several frames or pages, the first. CMYK and palettes become RGB; alpha is laid over white.
- 16 bits a channel are reduced by value (`v >> 8`, so 65,535 is white), 12-bit TIFF likewise (`v >> 4`).
- Float TIFF: values in 0..1 are stretched to 0..255, values in 0..255 are rounded. 32-bit integers: values in 0..255
  stay, values in 0..65,535 count as 16 bits. Any other range is a `BadImage` that says the range found.
- Grey comes from RGB by ITU-R 601 (0.299 R + 0.587 G + 0.114 B).
"""

from __future__ import annotations

import io
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import PIL
import PIL.BmpImagePlugin
import PIL.GifImagePlugin
import PIL.JpegImagePlugin
import PIL.PngImagePlugin
import PIL.TiffImagePlugin
import PIL.WebPImagePlugin
import pydantic
from numpy.typing import NDArray
from PIL import Image

from layerwise.config import Section
from layerwise.data.files import read_file, sniff
from layerwise.errors import BadImage

MAX_PIXELS = 178_956_970  # Pillow's own limit for a decompression bomb: 512 MiB as RGB
LARGE = 2**24  # pixels; images above it are decoded one at a time, so that threads do not multiply their memory
OUT_OF_MEMORY = "not enough memory to decode it"

Pixels = NDArray[np.uint8]

_ORIENTATION = 0x0112  # the EXIF tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_large_one_at_a_time = threading.Lock()


class Preprocess(Section):
    """What one image becomes; saved in the model file, so that prediction sees the pixels that training saw.

    Fields:
        height, width: of the result, in pixels.
        channels: 3 for RGB, 1 for grey.
        resize: "crop" brings the shorter side to size / crop_share and takes the centre; "squash" ignores the aspect;
            "pad" fits the whole image in and fills the rest with black.
        crop_share: the share of the shorter side that the crop keeps, in (0, 1]; 0.875 is 224 of 256.
        interpolation: with antialiasing, as in Pillow.
        mean, std: a number a channel, for pixels scaled to 0..1; applied to batches, not to what is stored.

    Example:
        >>> Preprocess(height=28, width=28, channels=1, mean=(0.5,), std=(0.5,)).resize
        'crop'
    """

    height: int = pydantic.Field(ge=1, le=8192)
    width: int = pydantic.Field(ge=1, le=8192)
    channels: Literal[1, 3] = 3
    resize: Literal["crop", "squash", "pad"] = "crop"
    crop_share: float = pydantic.Field(default=1.0, gt=0, le=1)
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @pydantic.field_validator("mean", "std")
    @classmethod
    def _a_number_a_channel(cls, value: tuple[float, ...], info: pydantic.ValidationInfo) -> tuple[float, ...]:
        channels = info.data.get("channels", len(value))
        if len(value) != channels:
            raise ValueError(f"one number for each of the {channels} channels")
        if info.field_name == "std" and min(value) <= 0:
            raise ValueError("numbers above 0")
        return value


@dataclass(frozen=True)
class Decoded:
    """One image as pixels (H, W, C) uint8, and what was left out on the way, such as "first frame of 12"."""

    pixels: Pixels
    notes: tuple[str, ...] = ()


class _Quiet(threading.local):
    """A pattern for `warnings` that matches only in a thread that is decoding.

    `warnings.catch_warnings` swaps the filters of all threads at once, and two overlapping uses restore them wrongly;
    this filter can stay in the list, since to every other thread it is not there.
    """

    decoding = False

    def match(self, _text: str) -> bool:
        return self.decoding

    def __reduce__(self) -> str:
        return "_quiet"  # by name: scikit-learn sends the filters to its worker processes


_quiet = _Quiet()
_FILTER: Any = ("ignore", _quiet, Warning, None, 0)
_filter_lock = threading.Lock()
# The one reader that also logs errors; its reason reaches the user in the list of problems. (libtiff's own lines on
# standard error come from C and cannot be turned off for one thread.)
logging.getLogger("PIL.TiffImagePlugin").addFilter(lambda _record: not _quiet.decoding)


def _first_filter() -> None:
    """Keep our filter first, also where somebody has added or restored filters since."""
    filters: Any = warnings.filters
    if filters and filters[0] is _FILTER:
        return
    with _filter_lock:
        if _FILTER in filters:
            filters.remove(_FILTER)
        filters.insert(0, _FILTER)


@contextmanager
def silent() -> Iterator[None]:
    """Warnings are off in this thread alone, so that none of Pillow's reaches the caller."""
    _first_filter()
    _quiet.decoding = True
    try:
        yield
    finally:
        _quiet.decoding = False


def decode(source: Path | str | bytes, preprocess: Preprocess) -> Decoded:
    """Read one image and bring it to the asked size and channels.

    Safe to call from many threads; no warning of Pillow's reaches the caller. A file that ends early is bad; damage
    inside the data that still decodes (JPEG has no checksum) cannot be seen, nor can an early end where the program has
    set Pillow's LOAD_TRUNCATED_IMAGES.

    Args:
        source: a file, or the bytes of one (never changed).
        preprocess: what to make of it.

    Returns:
        pixels (preprocess.height, preprocess.width, preprocess.channels) uint8, and notes.

    Raises:
        BadImage: with a short reason, whatever is wrong with the file.

    Example:
        >>> import io; from PIL import Image
        >>> file = io.BytesIO(); Image.new("RGB", (40, 30), "red").save(file, "PNG")
        >>> form = Preprocess(height=8, width=8, mean=(0.5,) * 3, std=(0.5,) * 3)
        >>> decode(file.getvalue(), form).pixels[0, 0].tolist()
        [255, 0, 0]
    """
    content = source if isinstance(source, bytes) else read_file(source)
    form = sniff(content)
    return _guard(form, lambda: _decode(content, form, preprocess))


def from_array(array: NDArray[Any], preprocess: Preprocess) -> Pixels:
    """Bring one image that is an array to the asked size and channels.

    Args:
        array: (H, W) or (H, W, C) with C 1, 3 or 4 (alpha, laid over white); values as in `to_uint8`.
        preprocess: what to make of it.

    Returns:
        pixels (preprocess.height, preprocess.width, preprocess.channels) uint8.

    Raises:
        BadImage: the shape or the range of values is none of these.

    Example:
        >>> form = Preprocess(height=2, width=2, channels=1, mean=(0.5,), std=(0.5,))
        >>> from_array(np.full((4, 4), 255, np.uint8), form).shape
        (2, 2, 1)
    """
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise BadImage(f"an array of shape {array.shape}, not (H, W) or (H, W, C) with C 1, 3 or 4")
    pixels = np.ascontiguousarray(to_uint8(array))  # (H, W, C)
    if pixels.shape == (preprocess.height, preprocess.width, preprocess.channels):
        return pixels
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    return _guard("array", lambda: Decoded(_shape(image, preprocess))).pixels


def to_uint8(array: NDArray[Any]) -> Pixels:
    """Values of any kind as 0..255; the range is judged over the whole array.

    uint8 stays as it is, without a copy. Booleans become 0 and 255. Integers must lie in 0..255. Floats in 0..1 are
    multiplied by 255 and rounded; floats in 0..255 are rounded.

    Raises:
        BadImage: another kind, NaN, infinity, or values outside these ranges; the range found is named.

    Example:
        >>> to_uint8(np.array([[0.0, 0.5, 1.0]])).tolist()
        [[0, 128, 255]]
    """
    wanted = "uint8, integers in 0..255, or floats in 0..1 or 0..255"
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind not in "iuf":
        raise BadImage(f"values of type {array.dtype}, not {wanted}")
    low, high = (array.min(), array.max()) if array.size else (0, 0)
    if not (low >= 0 and high <= 255):  # also where one of them is NaN
        raise BadImage(f"{array.dtype} values in {low:.6g}..{high:.6g}, not {wanted}")
    if array.dtype.kind in "iu":
        return array.astype(np.uint8)
    scale = 255 if high <= 1 else 1
    out = np.empty(array.shape, np.uint8)
    for row in range(len(array)):  # row by row: a temporary of the whole array would be eight times its result
        out[row] = np.rint(array[row].astype(np.float32) * scale)
    return out


def _guard(form: str, work: Callable[[], Decoded]) -> Decoded:
    """Do the work with warnings off in this thread, and make every failure a `BadImage`."""
    try:
        with silent():
            return work()
    except BadImage:
        raise
    except MemoryError:
        raise BadImage(f"{form}: {OUT_OF_MEMORY}") from None
    except Image.DecompressionBombError:
        raise BadImage(f"{form}: more than {MAX_PIXELS:,} pixels") from None
    except PIL.UnidentifiedImageError:
        raise BadImage(f"{form}: damaged, or of a kind that is not read") from None
    # A damaged file raises nearly anything in Pillow: OSError, SyntaxError, ValueError, struct.error, zlib.error ...
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise BadImage(f"{form}: {reason}") from None


def _decode(content: bytes, form: str, preprocess: Preprocess) -> Decoded:
    with Image.open(io.BytesIO(content), formats=(form,)) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise BadImage(f"{form}: {width:,} x {height:,} pixels, more than {MAX_PIXELS:,}")
        notes = _depth_note(image, content, form)
        if form == "JPEG":
            _scaled(image, preprocess)
        with _large_one_at_a_time if image.width * image.height > LARGE else nullcontext():
            image.load()
            turn, turn_notes = _turn(image)
            turned = image if turn is None else image.transpose(turn)
            pixels = _shape(turned, preprocess, twelve_bit=_bits(image) == 12)
        # A JPEG with more pictures (MPO) holds previews or depth maps, not frames.
        frames = () if form == "JPEG" else _frame_note(image)
    return Decoded(pixels, notes + turn_notes + frames)


def _scaled(image: Image.Image, preprocess: Preprocess) -> None:
    """Have libjpeg decode at 1/2, 1/4 or 1/8 where that is still no smaller than what is wanted."""
    height, width = preprocess.height, preprocess.width
    turn, _ = _turn(image)
    if turn is not None and turn >= Image.Transpose.ROTATE_90 and turn != Image.Transpose.ROTATE_180:
        height, width = width, height
    wanted_width, wanted_height, _ = _geometry(image.size, (width, height), preprocess)
    image.draft(image.mode, (wanted_width, wanted_height))  # type: ignore[attr-defined,no-untyped-call,unused-ignore]


def _turn(image: Image.Image) -> tuple[Image.Transpose | None, tuple[str, ...]]:
    """What EXIF asks for; Pillow has applied and removed it from a TIFF once that is loaded."""
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1)), ()
    except Exception:  # damaged metadata do not make the pixels bad
        return None, ("EXIF cannot be read: taken as upright",)


def _bits(image: Image.Image) -> int:
    """Bits a channel of a TIFF (0 for the other formats)."""
    if not isinstance(image, PIL.TiffImagePlugin.TiffImageFile):
        return 0
    bits = image.tag_v2.get(258, (0,))
    return int(max(bits)) if isinstance(bits, tuple) else int(bits)


def _depth_note(image: Image.Image, content: bytes, form: str) -> tuple[str, ...]:
    bits = content[24] if form == "PNG" else _bits(image)  # the PNG header stands at a fixed place
    return (f"{bits}-bit reduced to 8",) if bits > 8 else ()


def _frame_note(image: Image.Image) -> tuple[str, ...]:
    try:
        frames = int(getattr(image, "n_frames", 1))
    except Exception:  # later frames may be damaged; the first is what counts
        return ("first of several frames",)
    return (f"first frame of {frames}",) if frames > 1 else ()


def _shape(image: Image.Image, preprocess: Preprocess, *, twelve_bit: bool = False) -> Pixels:
    """Colours, then size: alpha must be laid over white before pixels are mixed by resampling."""
    image = _colour(image, "L" if preprocess.channels == 1 else "RGB", twelve_bit)
    width, height, box = _geometry(image.size, (preprocess.width, preprocess.height), preprocess)
    size = (min(width, preprocess.width), min(height, preprocess.height))
    if size != image.size or box != (0, 0, *image.size):
        image = image.resize(size, _FILTERS[preprocess.interpolation], box=box)
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]  # (H, W) -> (H, W, 1)
    if preprocess.resize == "pad":
        top, left = (preprocess.height - size[1]) // 2, (preprocess.width - size[0]) // 2
        padded = np.zeros((preprocess.height, preprocess.width, pixels.shape[2]), np.uint8)
        padded[top : top + size[1], left : left + size[0]] = pixels
        return padded
    return pixels


def _geometry(
    size: tuple[int, int], target: tuple[int, int], preprocess: Preprocess
) -> tuple[int, int, tuple[float, float, float, float]]:
    """Width and height of the whole image after scaling, and the box of the source that the result shows.

    Resampling only the box gives the same pixels as scaling all and cropping, and a strip of 1 x 65,000 stays cheap.
    """
    (width, height), (to_width, to_height) = size, target
    if preprocess.resize == "squash":
        return to_width, to_height, (0, 0, width, height)
    if preprocess.resize == "pad":
        scale = min(to_width / width, to_height / height)
        return max(1, round(width * scale)), max(1, round(height * scale)), (0, 0, width, height)
    share = preprocess.crop_share
    scale = max(round(to_width / share) / width, round(to_height / share) / height)
    wide, high = max(to_width, round(width * scale)), max(to_height, round(height * scale))
    left, top = (wide - to_width) // 2 * width / wide, (high - to_height) // 2 * height / high
    right, bottom = left + to_width * width / wide, top + to_height * height / high
    return wide, high, (left, top, min(right, width), min(bottom, height))


def _colour(image: Image.Image, mode: str, twelve_bit: bool) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image).astype(np.uint16) >> (4 if twelve_bit else 8)).astype(np.uint8))
    elif image.mode in ("I", "F"):
        image = Image.fromarray(_numbers(np.asarray(image)))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image).convert("RGB")
    elif image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _numbers(values: NDArray[Any]) -> Pixels:
    """The values of a TIFF with 32 bits a pixel as 0..255."""
    if values.dtype.kind == "i" and values.min() >= 0 and 255 < values.max() <= 65535:
        return (values >> 8).astype(np.uint8)
    return to_uint8(values)
