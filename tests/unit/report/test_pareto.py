"""The picture of a screen: everything named, nothing outside, the same bytes for the same figures."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from layerwise.report.pareto import Point, write_pareto

SVG = "{http://www.w3.org/2000/svg}"
CROWD = [Point(f"network_{number}", 0.9 + number / 1000, 0.88, 0.93, 20.0 + number / 10) for number in range(12)]


def drawn(place: Path, points: list[Point], front: list[str]) -> ElementTree.Element:
    write_pareto(place, points, front)
    return ElementTree.parse(place).getroot()


@pytest.mark.parametrize("points", [CROWD[:1], CROWD], ids=["one", "crowd"])
def test_every_network_is_named_and_the_front_in_bold(points: list[Point], tmp_path: Path) -> None:
    found = drawn(tmp_path / "screen.svg", points, [points[0].name])
    texts = {text.text: text.get("style") or "" for text in found.iter(f"{SVG}text")}
    assert {point.name for point in points} <= set(texts)
    assert {name for name, style in texts.items() if "bold" in style or "700" in style} == {points[0].name}


def test_names_do_not_lie_on_each_other(tmp_path: Path) -> None:
    found = drawn(tmp_path / "screen.svg", CROWD, [CROWD[0].name])
    spots = [text.get("transform") for text in found.iter(f"{SVG}text") if (text.text or "").startswith("network_")]
    assert len(set(spots)) == len(CROWD)


def test_the_figures_are_in_the_file_for_those_who_do_not_see_it(tmp_path: Path) -> None:
    write_pareto(tmp_path / "screen.svg", CROWD[:2], [CROWD[0].name])
    assert "network_0 0.900 (0.880 to 0.930) at 20.0 ms" in (tmp_path / "screen.svg").read_text(encoding="utf-8")


def test_the_same_figures_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        write_pareto(tmp_path / name, CROWD, [CROWD[0].name, CROWD[5].name])
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_strange_names_are_text_and_nothing_else(tmp_path: Path) -> None:
    name = "timm:<b>&$x_1$"
    found = drawn(tmp_path / "screen.svg", [Point(name, 0.5, 0.4, 0.6, 3.0)], [name])
    assert name in [text.text for text in found.iter(f"{SVG}text")]
