"""Every format, colour mode and orientation becomes the pixels that it shows."""

from __future__ import annotations

import io
import pickle
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest
from PIL import Image, ImageOps

from layerwise.data.decode import Preprocess, decode, from_array, to_uint8
from layerwise.errors import BadImage

RGB = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
GREY = {"channels": 1, "mean": (0.5,), "std": (0.5,)}


def form(height: int, width: int | None = None, **values: Any) -> Preprocess:
    return Preprocess(**{"height": height, "width": width or height, "resize": "squash", **RGB, **values})


def as_file(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def scene(height: int = 12, width: int = 20) -> np.ndarray:
    """An image that no flip or turn maps onto itself."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


LOSSLESS = [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {"lossless": True})]


@pytest.mark.parametrize(("kind", "options"), LOSSLESS)
def test_lossless_formats_are_exact(kind: str, options: dict[str, Any]) -> None:
    decoded = decode(as_file(Image.fromarray(scene()), kind, **options), form(12, 20))
    assert np.array_equal(decoded.pixels, scene()) and decoded.notes == ()
    assert decoded.pixels.dtype == np.uint8


def test_jpeg_is_what_pillow_makes_of_it() -> None:
    content = as_file(Image.fromarray(scene()), "JPEG", quality=95)
    assert np.array_equal(decode(content, form(12, 20)).pixels, np.asarray(Image.open(io.BytesIO(content))))


def test_gif_is_exact_for_its_palette() -> None:
    image = Image.fromarray(scene()).quantize(16)
    assert np.array_equal(decode(as_file(image, "GIF"), form(12, 20)).pixels, np.asarray(image.convert("RGB")))


def test_a_file_and_its_bytes_give_the_same_pixels_whatever_its_name(tmp_path: Path) -> None:
    content = as_file(Image.fromarray(scene()), "PNG")
    path = tmp_path / "picture.eps"
    path.write_bytes(content)
    assert np.array_equal(decode(path, form(8)).pixels, decode(content, form(8)).pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), *LOSSLESS[2:], ("JPEG", {"quality": 100, "subsampling": 0})]
)
def test_exif_orientation_is_applied(kind: str, options: dict[str, Any], orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = as_file(Image.fromarray(scene()), kind, exif=exif, **options)
    upright = _upright(scene(), orientation)
    pixels = decode(content, form(*upright.shape[:2])).pixels
    if kind == "JPEG":
        assert np.abs(pixels.astype(int) - upright).mean() < 3
    else:
        assert np.array_equal(pixels, upright)


def _upright(stored: np.ndarray, orientation: int) -> np.ndarray:
    """The EXIF standard in words: what the stored rows and columns show at the top and at the left."""
    flips = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: stored.transpose(1, 0, 2)[:, ::-1],
        7: stored.transpose(1, 0, 2)[::-1, ::-1],
        8: stored.transpose(1, 0, 2)[::-1],
    }
    return flips[orientation]


@pytest.mark.parametrize("resize", ["crop", "pad", "squash"])
def test_a_large_jpeg_on_its_side_is_decoded_scaled_and_upright(resize: str) -> None:
    image = Image.fromarray(scene(8, 12)).resize((960, 640), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    want = form(60, 40, resize=resize, crop_share=0.9)
    got = decode(as_file(image, "JPEG", quality=95, exif=exif), want).pixels
    exact = from_array(np.asarray(image.transpose(Image.Transpose.ROTATE_270)), want)
    assert got.shape == (60, 40, 3)
    assert np.abs(got.astype(int) - exact).mean() < 4


def test_damaged_exif_does_not_make_an_image_bad() -> None:
    for junk in (b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40):
        content = as_file(Image.fromarray(scene()), "JPEG", exif=junk)
        assert decode(content, form(12, 20)).pixels.shape == (12, 20, 3)


def test_alpha_is_laid_over_white_in_every_mode_that_has_it() -> None:
    black = np.zeros((4, 4, 4), np.uint8)
    black[:2, :, 3] = 255
    rgba = Image.fromarray(black)
    palette = Image.fromarray(np.repeat([[0], [0], [1], [1]], 4, axis=1).astype(np.uint8), "L").convert("P")
    palette.putpalette([0, 0, 0, 10, 20, 30])
    files = {
        "RGBA": as_file(rgba, "PNG"),
        "LA": as_file(rgba.convert("LA"), "PNG"),
        "WebP": as_file(rgba, "WEBP", lossless=True, exact=True),
        "TIFF": as_file(rgba, "TIFF"),
        "P with tRNS": as_file(palette, "PNG", transparency=1),
        "P with alphas": as_file(palette, "PNG", transparency=bytes([255, 0])),
        "GIF": as_file(palette, "GIF", transparency=1),
    }
    for name, content in files.items():
        pixels = decode(content, form(4)).pixels
        assert pixels[:2].max() == 0 and pixels[2:].min() == 255, name


def test_a_colour_key_is_transparent() -> None:
    grey = Image.fromarray(np.array([[0, 7], [7, 0]], np.uint8))
    assert decode(as_file(grey, "PNG", transparency=7), form(2)).pixels[:, :, 0].tolist() == [[0, 255], [255, 0]]
    assert (
        decode(as_file(grey.convert("RGB"), "PNG", transparency=(7, 7, 7)), form(2)).pixels[0, 1].tolist() == [255] * 3
    )


def test_cmyk_palette_and_one_bit() -> None:
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    for kind in ("JPEG", "TIFF"):
        red = decode(as_file(cmyk, kind), form(16)).pixels[8, 8]
        assert red[0] > 245 and red[1] < 10 and red[2] < 10
    bits = Image.fromarray(np.eye(8, dtype=bool))
    for kind in ("PNG", "BMP", "TIFF"):
        assert np.array_equal(decode(as_file(bits, kind), form(8, **GREY)).pixels[:, :, 0], np.eye(8) * 255)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_reduced_by_value_with_a_note(kind: str) -> None:
    values = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    for channels in ({}, GREY):
        decoded = decode(as_file(Image.fromarray(values), kind), form(16, **channels))
        assert np.array_equal(decoded.pixels[:, :, 0], np.arange(256).reshape(16, 16))
        assert decoded.notes == ("16-bit reduced to 8",)


def test_16_bit_rgb_png_is_reduced_by_value_with_a_note() -> None:
    decoded = decode(_png_16(scene()), form(12, 20))
    assert np.array_equal(decoded.pixels, scene()) and decoded.notes == ("16-bit reduced to 8",)


def _png_16(pixels: np.ndarray) -> bytes:
    """A 16-bit RGB PNG, which Pillow cannot write."""
    import struct
    import zlib

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + (row.astype(">u2") * 257).tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_float_and_32_bit_tiff() -> None:
    ramp = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    eight = np.rint(ramp * 255).astype(np.uint8)
    for values in (ramp, ramp * 255, eight.astype(np.int32)):
        assert np.array_equal(decode(as_file(Image.fromarray(values), "TIFF"), form(4, **GREY)).pixels[:, :, 0], eight)
    wide = eight.astype(np.int32) * 257
    assert np.array_equal(decode(as_file(Image.fromarray(wide), "TIFF"), form(4, **GREY)).pixels[:, :, 0], eight)
    for odd in (ramp * 1000, ramp - 1, np.full((4, 4), np.nan, np.float32), wide * 1000):
        with pytest.raises(BadImage, match=r"values in"):
            decode(as_file(Image.fromarray(odd), "TIFF"), form(4))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_counts_with_a_note(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    decoded = decode(as_file(frames[0], kind, save_all=True, append_images=frames[1:], **options), form(8))
    assert decoded.pixels[4, 4].tolist() == [255, 0, 0] and decoded.notes == ("first frame of 3",)


def test_grey_is_rec_601_also_from_palette_and_alpha() -> None:
    image = Image.fromarray(scene())
    want = np.asarray(image.convert("L"))
    assert np.array_equal(decode(as_file(image, "PNG"), form(12, 20, **GREY)).pixels[:, :, 0], want)
    assert np.array_equal(decode(as_file(image.convert("RGBA"), "PNG"), form(12, 20, **GREY)).pixels[:, :, 0], want)


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (224, 224), (90, 70), (500, 231)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_crop_is_the_shorter_side_scaled_and_the_centre_taken(size: tuple[int, int], interpolation: Any) -> None:
    image = Image.fromarray(scene()).resize(size, Image.Resampling.BICUBIC)
    got = decode(as_file(image, "PNG"), form(112, resize="crop", crop_share=0.875, interpolation=interpolation)).pixels
    scale = 128 / min(size)
    wide, high = round(size[0] * scale), round(size[1] * scale)
    whole = image.resize((wide, high), Image.Resampling[interpolation.upper()])
    left, top = (wide - 112) // 2, (high - 112) // 2
    want = np.asarray(whole.crop((left, top, left + 112, top + 112)))
    off = np.abs(got.astype(int) - want)
    assert off.max() <= 2 and off.mean() < 0.1  # Pillow's fixed-point weights differ in the last bit


def test_pad_fits_the_whole_image_between_black_bars() -> None:
    pixels = decode(as_file(Image.new("RGB", (40, 20), "white"), "PNG"), form(16, resize="pad")).pixels
    assert pixels[:4].max() == 0 and pixels[12:].max() == 0 and pixels[4:12].min() == 255


def test_one_pixel_and_very_wide_images_are_read() -> None:
    for size in [(1, 1), (65_000, 1), (1, 65_000), (65_500, 4)]:
        image = Image.new("RGB", size, (9, 8, 7))
        for resize in ("crop", "squash", "pad"):
            pixels = decode(as_file(image, "PNG"), form(32, resize=resize)).pixels
            assert pixels.reshape(-1, 3).max(0).tolist() == [9, 8, 7]
    wide = as_file(Image.new("RGB", (65_000, 8), (9, 8, 7)), "JPEG", quality=100)
    assert decode(wide, form(32, resize="crop")).pixels.shape == (32, 32, 3)


def test_no_warning_leaks_and_filters_of_others_stay() -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0" + b"\x01\0" + b"\x12\x01\x03\0\xff\xff\0\0\x40\0\0\0"
    content = as_file(Image.fromarray(scene()), "JPEG", exif=exif)
    for _ in range(2):
        with pytest.warns(UserWarning), Image.open(io.BytesIO(content)) as image:  # Pillow alone does warn
            ImageOps.exif_transpose(image)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert decode(content, form(12, 20)).pixels.shape == (12, 20, 3)
        assert caught == []
    with pytest.raises(UserWarning, match="mine"):  # pytest's own filter makes it an error
        warnings.warn("mine", UserWarning, stacklevel=1)


def test_the_filter_travels_to_worker_processes_as_scikit_learn_sends_it() -> None:
    decode(as_file(Image.fromarray(scene()), "PNG"), form(4))
    sent = pickle.loads(pickle.dumps(warnings.filters[0]))
    assert sent == warnings.filters[0] and sent[1] is warnings.filters[0][1]


def test_many_threads_make_the_pixels_that_one_makes() -> None:
    contents = [as_file(Image.fromarray(np.roll(scene(40, 60), n, axis=1)), "JPEG") for n in range(40)]
    want = [decode(content, form(16)).pixels for content in contents]
    wrong: list[int] = []

    def work() -> None:
        wrong.extend(
            n for n, content in enumerate(contents) if not np.array_equal(decode(content, form(16)).pixels, want[n])
        )

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_arrays_and_files_of_the_same_image_agree() -> None:
    want = form(8, resize="crop", crop_share=0.9)
    assert np.array_equal(from_array(scene(), want), decode(as_file(Image.fromarray(scene()), "PNG"), want).pixels)
    floats = scene().astype(np.float64) / 255
    assert np.array_equal(from_array(floats, want), from_array(scene(), want))
    assert from_array(scene()[:, :, 0], form(5, **GREY)).shape == (5, 5, 1)
    assert from_array(np.zeros((4, 4, 4), np.uint8), form(2)).min() == 255


def test_values_of_any_kind_become_uint8() -> None:
    eight = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert to_uint8(eight) is eight
    for same in (eight.astype(np.int64), eight.astype(np.float32), eight.astype(np.float64) / 255):
        assert np.array_equal(to_uint8(same), eight)
    assert to_uint8(np.array([[True, False]])).tolist() == [[255, 0]]


@pytest.mark.parametrize("odd", [[[-1.0, 0]], [[0, 256.0]], [[np.nan, 1]], [[np.inf, 1]], [[-1, 0]], [["a", "b"]]])
def test_values_out_of_range_are_named(odd: list[list[Any]]) -> None:
    with pytest.raises(BadImage, match="values"):
        to_uint8(np.array(odd))


@pytest.mark.parametrize("shape", [(3,), (4, 4, 2), (4, 4, 3, 1), (0, 4), (4, 0, 3)])
def test_arrays_that_are_no_image_are_bad(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadImage, match="shape"):
        from_array(np.zeros(shape, np.uint8), form(4))


def test_a_preprocess_needs_a_number_for_each_channel() -> None:
    for values in ({"mean": (0.5,)}, {"std": (0.5, 0.5)}, {"std": (0.5, 0.0, 0.5)}, {"crop_share": 0.0}, {"height": 0}):
        with pytest.raises(pydantic.ValidationError):
            form(4, **{"width": 4, **values}) if "height" not in values else Preprocess(width=4, **RGB, **values)
