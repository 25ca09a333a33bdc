"""The verbs as a person types them, and what is said of the mistakes that a newcomer makes."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import polars as pl
import pytest

import layerwise
from layerwise.cli import call
from layerwise_tests import images
from layerwise_tests.runs import only_object

QUICK = ["--model", "cnn-28", "--epochs", "1"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a newcomer has one: photos, a finished run, and things that are neither."""
    place = tmp_path_factory.mktemp("newcomer")
    images.folder(place / "photos", count=12, side=28)
    (place / "empty").mkdir()
    shutil.copytree(place / "photos" / "disc", place / "one-class" / "disc")
    shutil.copytree(place / "photos" / "disc", place / "flat")
    shutil.copytree(place / "photos", place / "damaged")
    (place / "damaged" / "disc" / "000.png").write_bytes(b"no image at all")
    rows = [f"photos/{kind}/{number:03}.png,{kind}" for kind in images.KINDS for number in range(12)]
    (place / "table.csv").write_text("\n".join(["image,label", *rows]) + "\n")
    (place / "no-labels.csv").write_text("\n".join(["image,size", *(f"{row.split(',')[0]},1" for row in rows)]) + "\n")
    (place / "notes.md").write_text("no data")
    assert call(["train", str(place / "photos"), "--out", str(place / "run"), *QUICK]) == 0
    return place


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    return place


def test_train_tells_people_the_figures_and_where_everything_lies(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["train", "photos", "--out", str(tmp_path / "run"), *QUICK]) == 0
    said = capsys.readouterr()
    assert "3 images of the part test" in said.out and "macro f1" in said.out and "baseline" in said.out
    assert "etter than " in said.out, "the verdict"
    for name in ("report.html", "model.safetensors"):
        assert str(tmp_path / "run" / name) in said.out and (tmp_path / "run" / name).is_file()
    assert "36 images of 3 classes: 30 train" in said.err and "stage all, epoch 1/1" in said.err
    contract = {"recipe.toml", "examples.parquet", "log.jsonl", "checkpoints", "metrics.json", "predictions.csv"}
    assert contract <= {file.name for file in (tmp_path / "run").iterdir()}


def test_train_json_is_one_object_and_flags_win_over_set_over_recipe(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.toml").write_text('model = "cnn-32"\nepochs = 3\nbatch_size = 8\n')
    words = ["--recipe", str(tmp_path / "mine.toml"), "--set", "epochs=2", "--set", "seed=7", "--seed", "5"]
    assert call(["train", "photos", "--out", str(tmp_path / "run"), "--model", "cnn-28", *words, "--json"]) == 0
    found = only_object(capsys)
    figures = {"task", "split", "n", "measure", "metrics", "baseline", "baselines", "verdict", "seconds", "calibration"}
    assert figures < set(found)
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == {k: v for k, v in found.items() if k != "run"}
    recipe = tomllib.loads((tmp_path / "run" / "recipe.toml").read_text())
    kept = {name: recipe[name] for name in ("model", "epochs", "batch_size", "seed")}
    assert kept == {"model": "cnn-28", "epochs": 2, "batch_size": 8, "seed": 5}


def test_a_table_trains_and_a_run_without_out_goes_under_runs(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(["train", str(here / "table.csv"), *QUICK, "--json"]) == 0
    run = Path(only_object(capsys)["run"])
    assert run.parent == Path("runs") and (run / "model.safetensors").is_file()


def test_evaluate(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["evaluate", "run", "photos"]) == 0
    assert "36 images of the part all" in capsys.readouterr().out
    assert call(["evaluate", "run", "damaged", "--json"]) == 0
    assert only_object(capsys)["n"] == 35


def test_columns_of_other_names_are_named_in_training_and_evaluation(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    renamed = (
        (here / "table.csv").read_text().replace("image,label", "photo,kind").replace("photos/", f"{here}/photos/")
    )
    (tmp_path / "mine.csv").write_text(renamed)
    columns = ["--image", "photo", "--label", "kind"]
    assert call(["train", str(tmp_path / "mine.csv"), *columns, "--out", str(tmp_path / "run"), *QUICK]) == 0
    assert call(["evaluate", str(tmp_path / "run"), str(tmp_path / "mine.csv")]) == 2
    capsys.readouterr()
    assert call(["evaluate", str(tmp_path / "run"), str(tmp_path / "mine.csv"), *columns, "--json"]) == 0
    assert only_object(capsys)["n"] == 36


def test_predict_prints_a_line_an_input_and_names_what_it_cannot_read(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["predict", "run", "damaged/disc", "photos/square/001.png"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 13
    assert lines[0] == "damaged/disc/000.png  cannot be used: not an image"
    assert lines[12].startswith("photos/square/001.png  ")


@pytest.mark.parametrize("suffix", ["csv", "parquet", "json"])
def test_predict_writes_tables(suffix: str, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / f"found.{suffix}"
    assert call(["predict", "run", "damaged/disc", "--out", str(out)]) == 0
    assert capsys.readouterr().out == ""
    read = {"csv": pl.read_csv, "parquet": pl.read_parquet, "json": pl.read_json}[suffix]
    table = read(out)
    assert table.columns == ["path", "predicted", "probability", "p:disc", "p:square", "p:stripes", "problem"]
    assert table["problem"].to_list() == ["not an image"] + [None] * 11
    assert table["predicted"].null_count() == 1
    sums = table.select(pl.sum_horizontal("p:disc", "p:square", "p:stripes")).to_series().to_list()[1:]
    assert sums == pytest.approx([1.0] * 11)


def test_predict_takes_a_table_of_paths_and_a_model_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["predict", "run/model.safetensors", "no-labels.csv", "--json"]) == 0
    rows = only_object(capsys)["predictions"]
    assert len(rows) == 36 and rows[0]["path"] == "photos/disc/000.png"


def test_inspect(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["inspect", "damaged"]) == 0
    said = capsys.readouterr().out
    assert "36 images, 35 usable, 3 classes" in said and "Problem: disc/000.png: not an image" in said
    assert call(["inspect", "damaged", "--json"]) == 0
    found = only_object(capsys)
    assert found["classes"] == {"disc": 11, "square": 12, "stripes": 12}
    assert found["problems"] == [{"path": "disc/000.png", "reason": "not an image"}]


def test_report_models_version_and_help(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "run" / "report.html").unlink()
    assert call(["report", "run", "--json"]) == 0
    assert Path(only_object(capsys)["report"]).read_text(encoding="utf-8").lstrip().startswith("<!")
    assert call(["models"]) == 0
    assert "timm:NAME" in capsys.readouterr().out
    assert call(["models", "--json"]) == 0
    assert {"name", "input", "parameters", "top1", "licence"} <= set(only_object(capsys)["models"][0])
    assert call(["--version"]) == 0
    assert capsys.readouterr().out == f"layerwise {layerwise.__version__}\n"
    for verb in ([], ["train"], ["predict"]):
        assert call([*verb, "--help"]) == 0
    assert "..." not in capsys.readouterr().out.partition("Commands:")[2].partition("Usage:")[0], "a help line is cut"


def test_resume_of_a_finished_run_makes_the_same_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (here / "run" / "predictions.csv").read_bytes()
    metrics = json.loads((here / "run" / "metrics.json").read_text())
    weights = layerwise.load(here / "run").card.tensors_sha256
    assert call(["resume", "run", "--json"]) == 0
    found = only_object(capsys)
    assert {key: found[key] for key in metrics if key != "seconds"} == {
        k: v for k, v in metrics.items() if k != "seconds"
    }
    assert (here / "run" / "predictions.csv").read_bytes() == before
    assert layerwise.load(here / "run").card.tensors_sha256 == weights
    assert call(["resume", "run"]) == 0
    assert "finished" in capsys.readouterr().err


TRAIN = ["train", "photos", *QUICK]
# What was typed -> exit code, and the words that the message must hold: what came, what was expected, how to mend it.
MISTAKES: dict[str, tuple[list[str], int, list[str]]] = {
    "verb": (["trian", "photos"], 2, ["trian", "Did you mean 'train'"]),
    "flag": (["train", "photos", "--modle", "cnn-28"], 2, ["--modle", "--model"]),
    "nothing to train on": (["train"], 2, ["DATA"]),
    "model": (["train", "photos", "--model", "cnn28"], 2, ["cnn28", "layerwise models", 'Did you mean "cnn-28"']),
    "timm model": (["train", "photos", "--model", "timm:resnt18"], 2, ["resnt18", '"timm:resnet18"']),
    "set key": ([*TRAIN, "--set", "augment.flp=true"], 2, ["augment.flp", 'Did you mean "augment.flip"']),
    "set key without its table": ([*TRAIN, "--set", "learning_rate=1"], 2, ['Did you mean "optimizer.learning_rate"']),
    "key of a stage": (
        [*TRAIN, "--set", 'stages=[{name="a",epochs=1,learning_rate=0.1,shar=1}]'], 2, ["stages.0.shar", '"share"'],
    ),
    "stage without epochs": ([*TRAIN, "--set", 'stages=[{name="a"}]'], 2, ["stages.0.epochs", "missing"]),
    "network option": ([*TRAIN, "--set", "network.droput=0.1"], 2, ["droput", "dropout"]),
    "set without =": ([*TRAIN, "--set", "flip"], 2, ['"flip"', "key=value"]),
    "set of a table": ([*TRAIN, "--set", "data=3"], 2, ['"data" is 3', "a table"]),
    "set of a choice": ([*TRAIN, "--set", "optimizer.name=adamx"], 2, ["adamx", "'adamw'"]),
    "set of a flag": ([*TRAIN, "--set", "augment.flip=maybe"], 2, ["maybe", "true or false"]),
    "epochs 0": (["train", "photos", "--model", "cnn-28", "--epochs", "0"], 2, ['"epochs" is 0', "equal to 1"]),
    "epochs in words": (["train", "photos", "--epochs", "two"], 2, ["--epochs", "integer"]),
    "device": ([*TRAIN, "--device", "gpu"], 2, ['"gpu"', "cpu"]),
    "task": ([*TRAIN, "--task", "image"], 2, ['"image"', "image-classification"]),
    "recipe missing": ([*TRAIN, "--recipe", "no.toml"], 2, ["no.toml", "TOML"]),
    "recipe is a folder": ([*TRAIN, "--recipe", "photos"], 2, ["photos", "TOML"]),
    "recipe is no TOML": ([*TRAIN, "--recipe", "table.csv"], 2, ["table.csv is not TOML"]),
    "missing folder": (["train", "photo"], 2, ["photo", "folder per class", "Near it: photos"]),
    "empty folder": (["train", "empty"], 2, ["nothing in it", "folder per class"]),
    "no classes": (["train", "flat"], 2, ["12 images", "folder per class"]),
    "one class": (["train", "one-class", *QUICK], 2, ['"disc"', "two labels or more"]),
    "no data at all": (["train", "notes.md"], 2, ["notes.md", "folder per class"]),
    "no label column": (["train", "no-labels.csv"], 2, ['"image", "size"', "--label"]),
    "wrong label column": (["train", "table.csv", "--label", "lable"], 2, ['"lable"', 'Did you mean "label"']),
    "columns of a folder": ([*TRAIN, "--label", "x"], 2, ["--label", "table"]),
    "too small": ([*TRAIN, "--set", "data.size=12"], 2, ["12 x 12", "at least 18"]),
    "out is not empty": ([*TRAIN, "--out", "photos"], 2, ["photos is not empty", "--out"]),
    "out is a run": ([*TRAIN, "--out", "run"], 2, ["holds a run already", "layerwise resume run"]),
    "out is a file": ([*TRAIN, "--out", "notes.md"], 2, ["notes.md is a file", "--out"]),
    "run missing": (["evaluate", "rum", "photos"], 2, ["rum", "layerwise train", "Near it: run"]),
    "run is data": (["predict", "photos", "table.csv"], 2, ["photos is not a run folder", "layerwise train"]),
    "run is a text": (["predict", "notes.md", "table.csv"], 1, ["notes.md", "model file of layerwise"]),
    "resume of data": (["resume", "photos"], 2, ["photos is not a run folder"]),
    "report of data": (["report", "photos"], 2, ["photos is not a run folder"]),
    "nothing to predict": (["predict", "run"], 2, ["INPUT"]),
    "missing image": (["predict", "run", "missing.png"], 2, ["missing.png", "an image or a folder"]),
    "predict an empty folder": (["predict", "run", "empty"], 2, ["nothing in it"]),
    "suffix of out": (["predict", "run", "photos", "--out", "found.txt"], 2, [".txt", ".csv"]),
    "folder of out": (["predict", "run", "photos", "--out", "no/found.csv"], 2, ["no folder", "Make it first"]),
    "evaluate on nothing": (["evaluate", "run", "empty"], 2, ["nothing in it"]),
    "demo": (["demo", "digit"], 2, ['"digit"', 'Did you mean "digits"']),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_and_mended(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, code, wanted = MISTAKES[name]
    before = sorted(here.rglob("*"))
    assert call(words) == code
    said = capsys.readouterr()
    assert said.out == "" and "Traceback" not in said.err
    assert said.err.count("Error: ") == 1
    flat = " ".join(said.err.replace("│", " ").split())
    for part in wanted:
        assert part in flat
    left = [file for file in sorted(here.rglob("*")) if file not in before]
    assert not [file for file in left if file.name != "runs"], "a call that failed left something behind"


def test_a_model_that_is_not_there_is_exit_1_and_says_how_to_go_on(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(here / "run", tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").unlink()
    assert call(["predict", str(tmp_path / "run"), "photos"]) == 1
    assert f"layerwise resume {tmp_path / 'run'}" in capsys.readouterr().err


def test_a_failure_with_json_is_one_object_too(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["train", "empty", "--json"]) == 2
    found = only_object(capsys)
    assert found["exit_code"] == 2 and "nothing in it" in found["error"]


def test_evaluate_refuses_classes_that_the_model_does_not_know(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(here / "flat", tmp_path / "data" / "circle")
    shutil.copytree(here / "flat", tmp_path / "data" / "disc")
    assert call(["evaluate", "run", str(tmp_path / "data")]) == 2
    assert "circle" in (said := capsys.readouterr().err) and "disc, square, stripes" in said


def test_ctrl_c_in_any_verb_is_a_failure_that_says_stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*given: object, **words: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("layerwise.api.inspect", stop)
    assert call(["inspect", "photos", "--json"]) == 1
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"error": "Stopped.", "exit_code": 1} and "Stopped." in shown.err
