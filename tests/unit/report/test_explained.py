"""Pictures of explanations: sizes, words as XML, what is drawn of much."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from layerwise.report.explained import heat_png, trace_svg, words_svg

SVG = "{http://www.w3.org/2000/svg}"


def opened(content: bytes) -> np.ndarray:
    found: np.ndarray = np.asarray(Image.open(io.BytesIO(content)))
    return found


@pytest.mark.parametrize(("height", "width", "channels"), [(28, 28, 1), (32, 48, 3), (300, 224, 3)])
def test_an_image_stands_beside_its_heat(height: int, width: int, channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)
    heat = np.zeros((height, width), np.float32)
    heat[height // 2, width // 2] = 1.0
    times = -(-224 // min(height, width))
    found = opened(heat_png(pixels, heat))
    assert found.shape == (times * height + 18, 2 * times * width + 8, 3)
    expected = np.broadcast_to(pixels, (height, width, 3)).repeat(times, 0).repeat(times, 1)
    assert np.array_equal(found[: times * height, : times * width], expected)


def test_lightness_rises_with_the_heat_and_the_hottest_place_is_framed() -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    ramp = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (64, 1))
    found = opened(heat_png(grey, ramp)).astype(float)
    row = found[250, -256:] @ np.array([0.299, 0.587, 0.114])  # a row of the picture below the frame
    assert (np.diff(row) >= -1).all() and row[-20] - row[20] > 60
    frames = [opened(heat_png(grey, heat)) for heat in (ramp, np.zeros_like(ramp))]
    near = [frame[0:16, -16:].reshape(-1, 3).tolist() for frame in frames]
    assert [255, 255, 255] in near[0] and [255, 255, 255] not in near[1]


def test_words_are_shaded_by_weight_and_what_speaks_against_is_underlined() -> None:
    root = ElementTree.fromstring(words_svg("not a\ngood film", [(0, 3, -2.0), (4, 5, 0.0), (6, 10, 1.0)], "bad 0.9"))
    groups = root.findall(f"{SVG}g")
    assert [group.findtext(f"{SVG}text") for group in groups] == ["not", "a", "good"]
    shades = [float(group.find(f"{SVG}rect").get("fill-opacity")) for group in groups]  # type: ignore[union-attr, arg-type]
    assert shades == pytest.approx([0.85, 0.0, 0.425])
    assert [group.find(f"{SVG}path") is not None for group in groups] == [True, False, False]
    tops = [float(group.find(f"{SVG}rect").get("y")) for group in groups]  # type: ignore[union-attr, arg-type]
    assert tops[0] == tops[1] < tops[2]  # a line of its own after the line end


def test_long_texts_are_cut_and_say_so() -> None:
    text = "word " * 700
    spans = [(5 * place, 5 * place + 4, 0.1) for place in range(700)]
    root = ElementTree.fromstring(words_svg(text, spans, "long", unread=12))
    said = "".join(each.text or "" for each in root.findall(f"{SVG}text"))
    assert len(root.findall(f"{SVG}g")) == 600
    assert "100 more words are not drawn" in said and "12 words behind them were not read" in said


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (900, 1), (30, 40)])
def test_a_trace_of_any_size_is_one_drawing(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=shape)
    values[0] = np.nan
    weights = random.normal(size=shape)
    content = trace_svg(values, weights, "a <b> & $c$")
    assert content == trace_svg(values, weights, "a <b> & $c$") and len(content) < 200_000
    assert ElementTree.fromstring(content.decode()).tag == f"{SVG}svg"
    assert ("12 of 40 channels" in content.decode()) == (shape[1] == 40)


def test_a_forecast_is_drawn_behind_its_window_and_no_weight_is_no_fault() -> None:
    content = trace_svg(np.ones((6, 1)), np.zeros((6, 1)), "a", ahead=np.arange(3.0))
    assert b"raises the forecast" in content and ElementTree.fromstring(content.decode()) is not None
