"""The page about a VAE or GAN: figures beside real images, pictures, latents, copies, alarms, and what is missing."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from layerwise.report import write_report
from layerwise.report.generator_plots import latent_map, score_plot
from layerwise.report.generators import some
from layerwise.report.grids import grid_png
from layerwise.report.read import RunFiles
from layerwise.report.sheets import HEAVIEST, frames, read_sheet
from layerwise_tests.generator_pages import make_generator_run
from layerwise_tests.pages import Page, line, write_log

CLASSES = ("bar", "cross", "disc", "ring")


@pytest.fixture
def vae(tmp_path: Path) -> Path:
    return make_generator_run(tmp_path / "run", "vae", CLASSES)


@pytest.fixture
def gan(tmp_path: Path) -> Path:
    return make_generator_run(tmp_path / "run", "gan")


def change(run: Path, **changes: Any) -> None:
    """Change the part "generation" of the figures."""
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    metrics["generation"] |= changes
    (run / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")


def headings(page: Page) -> list[str]:
    return re.findall(r"<h[23]>([^<]*)</h[23]>", page.source)


def test_the_page_of_a_vae_shows_all_in_order(vae: Path) -> None:
    page = Page(write_report(vae))
    assert headings(page) == [
        "Samples", "Over time", "Latents", "Reconstructions", "One latent at a time", "From one image to another",
        "The latent plane", "Where images lie", "Unusual images", "The most unusual", "Are samples copies?",
        "Which classes samples show", "Alarms", "Who judged", "Data", "Training", "Repeat it",
    ]  # fmt: skip
    for words in (
        "Better than PCA-Gaussian. Distance 24.6 against 86.2", "Real images against real ones: 2.31.",
        "Variational autoencoder, judged on 300 test images that training never saw",
        "This model vae mixture 24.60 23.62 to 25.83", "This model, N(0, I) 31.20",
        "Real images against other real ones 2.310 2.218 to 2.425 0.00012",
        "PCA-Gaussian 86.20", "Mean image 312.4", "Negative ELBO nats: reconstruction and KL together",
        "Active units latents that change from image to image 2 1 to 2",
        "11 of 1,000 samples lie suspiciously near", "nothing says that the network repeats",
        "None: no step had a loss", "a small classifier trained on the labels", "3f9a3f9a3f9a",
        "300 images in 4 classes.", "Lowest validation negative ELBO", "vae, the best in validation, was kept",
    ):  # fmt: skip
        assert words in page.text, words
    assert page.tags["h1"] == 1 and page.tags["img"] == 8 + 7 and "is missing" not in page.text


def test_the_page_of_a_gan_without_labels_leaves_out_what_only_a_vae_has(gan: Path) -> None:
    page = Page(write_report(gan))
    assert headings(page) == [
        "Samples", "Over time", "Scores", "Are samples copies?", "Alarms", "Who judged", "Data", "Training",
        "Repeat it",
    ]  # fmt: skip
    assert "Generative adversarial network, judged on 300 test images" in page.text
    assert "300 images. All of them could be used." in page.text and "(no label)" not in page.text
    assert "Images 100 100 100 300" in page.text and "Negative ELBO" not in page.text
    assert {"Generator&#39;s loss", "Discriminator&#39;s loss", "Fréchet distance", "Coverage"} == set(
        re.findall(r"<figcaption>([^<]*)</figcaption>", page.source)
    )
    assert "is missing" not in page.text


def test_a_sampler_named_like_its_network_is_named_once(gan: Path) -> None:
    samplers = json.loads((gan / "metrics.json").read_text(encoding="utf-8"))["generation"]["samplers"]
    change(gan, samplers=[{**samplers[0], "name": "gan"}, *samplers[1:]])
    page = Page(write_report(gan))
    assert "This model gan 24.60" in page.text and "gan gan" not in page.text


def test_more_latents_than_the_picture_has_rows_are_said(vae: Path, tmp_path: Path) -> None:
    page = Page(write_report(make_generator_run(tmp_path / "many", "vae", latents=33)))
    assert "The first 32 of 33 latents. A row a latent" in page.text
    assert "The first" not in Page(write_report(vae)).text


def test_a_claim_that_fails_is_not_hidden_behind_one_that_holds(vae: Path) -> None:
    metrics = json.loads((vae / "metrics.json").read_text(encoding="utf-8"))
    metrics["verdict"] = (
        "Better than the mean image: 100 nats an image against 200 (difference -100, 95 % interval -105 to -95.0). "
        "Not better than PCA-Gaussian: distance 9.10 against 8.20. Real images against real ones: 0.0200."
    )
    (vae / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    page = Page(write_report(vae))
    assert "Better than the mean image, not better than PCA-Gaussian. Better than the mean image: 100" in page.text
    assert ("div", "class", "verdict poor") in page.attributes and "Real images against real ones" in page.text


def test_the_page_needs_no_network_and_speaks_to_those_who_do_not_see(vae: Path) -> None:
    page = Page(write_report(vae))
    assert not re.search(r"https?:|@import|url\((?!#)", page.source) and page.tags["script"] == 0
    policy = [value for tag, name, value in page.attributes if tag == "meta" and "default-src 'none'" in value]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    ids = Counter(value for _, name, value in page.attributes if name == "id")
    assert max(ids.values()) == 1
    links = {value[1:] for tag, name, value in page.attributes if tag == "a" and name == "href"}
    assert links <= set(ids) and {"samples", "latents", "unusual", "memory", "classes", "alarms"} <= links
    used = {value[1:] for _, name, value in page.attributes if name == "xlink:href"}
    used |= set(re.findall(r"url\(#([^)]+)\)", page.source))
    assert used <= set(ids)
    told = [value for tag, name, value in page.attributes if tag == "img" and name == "alt"]
    assert len(told) == page.tags["img"] and all(told)
    labels = [value for _, name, value in page.attributes if name == "aria-label"]
    assert any("by class: bar 25 %, cross 25 %" in label for label in labels)
    assert any(label.startswith("Scores of 300 images from") for label in labels)


def test_the_same_folder_gives_the_same_page(vae: Path) -> None:
    assert write_report(vae).read_bytes() == write_report(vae).read_bytes()


def test_epochs_are_those_of_the_kept_network_and_the_kept_one_is_marked(vae: Path) -> None:
    for epoch in (13, 14, 15):  # of the network that was not kept
        shutil.copy(vae / "samples/epoch-0001.png", vae / f"samples/epoch-{epoch:04}.png")
    page = Page(write_report(vae))
    told = [value for tag, name, value in page.attributes if name == "alt" and value.startswith("Samples after")]
    epochs = [int(number) for number in re.findall(r"epoch (\d+),", " ".join(told))]
    assert len(epochs) == 8 and epochs[0] == 1 and epochs[-1] == 12 and 10 in epochs
    assert [each for each in told if "the epoch that was kept" in each] == [
        "Samples after epoch 10, from the same noise, the epoch that was kept"
    ]


def test_epochs_of_several_networks_are_named_where_none_was_kept(vae: Path) -> None:
    write_log(vae, [line("vae", 0, 0), *[line("vae-tutorial", 1, epoch) for epoch in range(3)]])
    for epoch in range(5, 13):
        (vae / f"samples/epoch-{epoch:04}.png").unlink()
    page = Page(write_report(vae))
    assert "vae, epoch 1" in page.text and "vae-tutorial, epoch 4" in page.text
    assert not [value for _, name, value in page.attributes if name == "class" and value == "kept"]


def test_a_run_that_was_interrupted_shows_its_samples_and_asks_for_nothing_more(vae: Path) -> None:
    shutil.rmtree(vae / "pictures")
    (vae / "metrics.json").unlink()
    (vae / "predictions.csv").unlink()
    page = Page(write_report(vae))
    assert "There are no figures for this run yet" in page.text and "Over time" in page.text
    assert page.text.count("is missing") == 2 and "Alarms" not in page.text and "Copies" not in page.text


@pytest.mark.parametrize("content", [None, b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "cut", "gif"])
def test_a_picture_that_is_missing_or_damaged_is_a_note(content: bytes | str | None, vae: Path) -> None:
    file = vae / "pictures/traversal.png"
    whole = file.read_bytes()
    file.unlink()
    if content == "gif":
        content = b"GIF89a\x01\x00\x01\x00\x00\x00\x00;"
    if content is not None:
        file.write_bytes(whole[: len(whole) // 2] if isinstance(content, str) else content)
    page = Page(write_report(vae))
    assert "pictures/traversal.png is missing." in page.text or "pictures/traversal.png cannot be read" in page.text
    assert "One latent at a time" not in page.text and "From one image to another" in page.text


def test_a_picture_too_large_to_decode_is_a_note(vae: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 40_000)
    page = Page(write_report(vae))
    assert "pictures/plane.png cannot be read: it is not a PNG that can be shown." in page.text


def test_missing_pictures_of_two_latents_are_no_note_where_there_are_more(tmp_path: Path) -> None:
    page = Page(write_report(make_generator_run(tmp_path / "run", "vae", CLASSES, latents=5)))
    assert "plane" not in page.text and "of 5 latents, the two directions in which they vary most" in page.text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.json", b'{"task": "vae", "generation": 3}'),
        ("predictions.csv", b"id,path,score\n1,2,3\n"),
        ("predictions.csv", b"id,path,label,score,z0,z1\n1,a,b,c,d,e\n2,,,,,\n"),
        ("examples.parquet", b"PAR1 cut off"),
        ("log.jsonl", b"[1, 2]\n\xff\n{}\n"),
    ],
)
def test_a_damaged_file_does_not_stop_the_page(vae: Path, name: str, content: bytes) -> None:
    (vae / name).write_bytes(content)
    page = Page(write_report(vae))
    assert "Repeat it" in page.text and ("<h2>Samples</h2>" in page.source)


def test_figures_without_the_part_generation_have_a_page(gan: Path) -> None:
    metrics = json.loads((gan / "metrics.json").read_text(encoding="utf-8"))
    del metrics["generation"]
    (gan / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    page = Page(write_report(gan))
    assert "PCA-Gaussian 86.20" in page.text and "Alarms" not in page.text and "Who judged" not in page.text


def test_many_copies_are_called_so(gan: Path) -> None:
    change(gan, memorised={"n": 100, "flagged": 100, "threshold": 0.01234, "pairs": [[1, 2]]})
    page = Page(write_report(gan))
    assert "100 of 100 samples lie suspiciously near to a training image: within a distance of 0.0123" in page.text
    assert "So the network repeats training images" in page.text
    change(gan, memorised={"n": 100, "flagged": 0, "threshold": 0.01234})
    assert "None of 100 samples" in Page(write_report(gan)).text


def test_alarms_say_when_what_and_what_was_done(gan: Path) -> None:
    alarm = {
        "stage": "gan",
        "epoch": 3,
        "step": 1200,
        "kind": "collapse",
        "what": "<All> are alike.",
        "done": "went on",
    }
    change(gan, alarms=[alarm, {"stage": None, "epoch": None, "step": None, "kind": "", "what": "x", "done": ""}])
    page = Page(write_report(gan))
    assert "gan epoch 3, step 1,200 Collapse : <All> are alike. Went on" in page.text
    assert "None: samples" not in page.text


def test_the_page_is_small_though_pictures_are_large(vae: Path) -> None:
    random = np.random.default_rng(0)
    heavy = grid_png(random.integers(0, 256, (64, 128, 128, 3), dtype=np.uint8), 8)
    assert len(heavy) > 3_000_000
    for file in [*(vae / "pictures").iterdir(), *(vae / "samples").iterdir()]:
        file.write_bytes(heavy)
    assert write_report(vae).stat().st_size < 6_000_000


def test_a_small_sheet_keeps_its_pixels_and_is_enlarged_by_whole_numbers(tmp_path: Path) -> None:
    run = RunFiles(tmp_path)
    (tmp_path / "a.png").write_bytes(grid_png(np.zeros((64, 28, 28, 1), np.uint8), 8))
    (tmp_path / "b.png").write_bytes(
        grid_png(np.random.default_rng(0).integers(0, 256, (16, 200, 200, 3), dtype=np.uint8), 4)
    )
    small, large = read_sheet(run, "a.png"), read_sheet(run, "b.png")
    assert small is not None and large is not None and not run.notes
    assert (small.width, small.times, small.source[:15]) == (231, 3, "data:image/png;")
    assert large.times == 1 and large.source.startswith("data:image/jpeg;") and large.width <= 803
    assert len(large.source) < HEAVIEST * 4 / 3 + 100


def test_frames_are_found_by_their_number(tmp_path: Path) -> None:
    run = RunFiles(tmp_path)
    assert frames(run) == {}
    (tmp_path / "samples").mkdir()
    for name in ("epoch-0002.png", "epoch-10001.png", "epoch-0010.png", "epoch-x.png", "other.png"):
        (tmp_path / "samples" / name).write_bytes(b"")
    assert list(frames(run)) == [2, 10, 10001]


@pytest.mark.parametrize(
    ("count", "most", "always", "wanted"),
    [
        (3, 8, None, [1, 2, 3]), (30, 4, None, [1, 11, 20, 30]), (30, 4, 12, [1, 12, 20, 30]),
        (30, 4, 29, [1, 11, 29, 30]), (30, 4, 99, [1, 11, 20, 30]), (0, 8, 3, []), (5, 1, 4, [4]),
    ],
)  # fmt: skip
def test_epochs_are_chosen_evenly_with_the_kept_one(count: int, most: int, always: int, wanted: list[int]) -> None:
    assert some(range(1, count + 1), most, always) == wanted


def scored(latents: np.ndarray, labels: list[str | None]) -> pl.DataFrame:
    columns = {f"z{place}": latents[:, place] for place in range(latents.shape[1])}
    return pl.DataFrame({"label": labels, "score": latents[:, 0], **columns}, schema_overrides={"label": pl.String})


def test_more_than_two_latents_are_shown_by_their_principal_components() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(500, 1)) @ np.array([[3.0, 4.0, 0.0]]) + random.normal(0, 0.01, (500, 3))
    found = latent_map(scored(values, [None] * 500))
    assert found is not None and found.share == pytest.approx(1.0, abs=1e-3)
    assert (found.drawn, found.total, found.latents, found.kinds) == (500, 500, 3, [])
    assert "first principal component" in found.plot.svg


def test_a_map_has_at_most_2000_points_and_12_classes_that_look_different() -> None:
    random = np.random.default_rng(0)
    labels: list[str | None] = [f"class {row % (3 + row % 20):02}" for row in range(5000)]
    found = latent_map(scored(random.normal(size=(5000, 2)), labels))
    assert found is not None and found.share is None and (found.drawn, found.total) == (2000, 5000)
    assert len(found.kinds) == 12 and found.kinds[-1].name == "other classes"
    assert len({kind.symbol for kind in found.kinds}) == 12
    assert sum(kind.count for kind in found.kinds) == 5000


def test_what_cannot_be_drawn_is_left_out() -> None:
    one = scored(np.zeros((5, 1)), [None] * 5)
    assert latent_map(one) is None
    assert latent_map(scored(np.full((5, 2), np.nan), [None] * 5)) is None
    assert latent_map(pl.DataFrame({"label": ["a"], "score": [1.0]})) is None
    assert score_plot(one.with_columns(score=pl.lit(None, pl.Float64)), True) is None
    assert score_plot(one, False) is not None and latent_map(scored(np.zeros((5, 3)), ["a"] * 5)) is not None
