"""ImageClassifier keeps scikit-learn's conventions, in scikit-learn's own tools."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

import layerwise
from layerwise import ImageClassifier
from layerwise.errors import DataError, RecipeError, UsageError
from layerwise_tests import images

# Written out, so that these tests are of labels and arrays and not of how fast the default recipe learns.
RECIPE = {"batch_size": 16, "optimizer": {"learning_rate": 1e-3, "schedule": "cosine"}}
FAST: dict[str, Any] = {"epochs": 4, "device": "cpu", "recipe": RECIPE}


def quick(**words: Any) -> ImageClassifier:
    return ImageClassifier("cnn-28", **{**FAST, **words})


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    return images.arrays(24, side=20)


@pytest.fixture(scope="module")
def fitted(data: tuple[np.ndarray, np.ndarray]) -> ImageClassifier:
    return quick(epochs=12).fit(*data)


def test_the_constructor_stores_and_does_nothing_else() -> None:
    recipe = {"batch_size": 16}
    model = ImageClassifier("no such network", epochs=-1, recipe=recipe)  # judged by fit
    assert model.get_params() == {
        "model": "no such network",
        "epochs": -1,
        "seed": None,
        "device": "auto",
        "recipe": recipe,
        "out": None,
        "verbose": False,
    }
    assert model.recipe is recipe and is_classifier(model)
    assert clone(model).get_params() == model.get_params()
    assert model.set_params(epochs=3, model="cnn-28").get_params()["epochs"] == 3
    assert "cnn-28" in repr(model)


def test_fit_returns_itself_and_learns(fitted: ImageClassifier, data: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = data
    assert fitted.score(x, y) > 0.8
    assert fitted.metrics_["split"] == "test" and fitted.metrics_["n"] == 6
    assert isinstance(fitted.model_, layerwise.Model)


def test_probabilities_sum_to_one_in_the_order_of_classes(
    fitted: ImageClassifier, data: tuple[np.ndarray, np.ndarray]
) -> None:
    x, y = data
    probabilities = fitted.predict_proba(x)
    assert fitted.classes_.tolist() == ["disc", "square", "stripes"] and probabilities.shape == (len(x), 3)
    assert np.allclose(probabilities.sum(1), 1, atol=1e-9)
    predicted = fitted.predict(x)
    assert predicted.dtype == y.dtype and (predicted == fitted.classes_[probabilities.argmax(1)]).all()
    # The columns are those of their names: the right class gets the most, for each class.
    for place, name in enumerate(fitted.classes_):
        assert probabilities[y == name].mean(0).argmax() == place


@pytest.mark.parametrize(
    "classes",
    [
        np.array([10, 2, 33]),  # by value, not by text
        np.array([-1, 0, 1]),
        np.array([2.0, 10.0, 3.0]),
        np.array(["b", "a", "10"]),
        np.array(["x", "y", "z"], dtype=object),
    ],
    ids=["integers", "signs", "floats", "texts", "objects"],
)
def test_labels_of_every_kind_come_back_as_they_were(classes: np.ndarray, data: tuple[np.ndarray, np.ndarray]) -> None:
    x, kinds = data
    y = classes[[images.KINDS.index(kind) for kind in kinds]]
    model = quick(epochs=12).fit(x, y)
    assert model.classes_.tolist() == sorted(classes.tolist()) and model.classes_.dtype == classes.dtype
    assert model.predict(x).dtype == y.dtype and model.score(x, y) > 0.8


def test_booleans_are_two_classes(data: tuple[np.ndarray, np.ndarray]) -> None:
    x, kinds = data
    model = quick(epochs=12).fit(x, kinds == "stripes")
    assert model.predict(x).dtype == bool and model.score(x, kinds == "stripes") > 0.8


def test_all_forms_of_the_same_images_give_the_same_network(data: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = data
    grey = x[..., 0].copy()
    forms = [grey, grey[..., None], grey / np.float32(255), grey.astype(np.int64), list(grey)]
    answers = [quick(epochs=1).fit(form, y).predict_proba(form) for form in forms]
    assert all(np.array_equal(answers[0], other) for other in answers[1:])


def test_nothing_of_the_callers_is_changed(data: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = (each.copy() for each in data)
    recipe = {"augment": {"flip": True, "brightness": 0.5}}
    x.flags.writeable = y.flags.writeable = False
    model = quick(epochs=1, recipe=recipe).fit(x, y)
    model.predict_proba(x)
    assert np.array_equal(x, data[0]) and np.array_equal(y, data[1])
    assert recipe == {"augment": {"flip": True, "brightness": 0.5}} == model.recipe


def test_the_seed_repeats_a_fit_and_a_second_fit_forgets_the_first(data: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = data
    model = quick(epochs=1)
    first = model.fit(x, y).predict_proba(x)
    model.fit(x[y != "disc"], y[y != "disc"])
    assert model.classes_.tolist() == ["square", "stripes"] and model.predict_proba(x).shape == (len(x), 2)
    assert np.array_equal(model.fit(x, y).predict_proba(x), first)
    assert not np.array_equal(clone(model).set_params(seed=1).fit(x, y).predict_proba(x), first)


def test_arguments_win_over_the_recipe_only_where_they_are_given(data: tuple[np.ndarray, np.ndarray]) -> None:
    recipe = {"model": "cnn-28", "epochs": 1, "seed": 7, "device": "cpu"}
    assert ImageClassifier(recipe=recipe).fit(*data).model_.card.model == "cnn-28"
    assert ImageClassifier("resnet-small", recipe=recipe).fit(*data).model_.card.model == "resnet-small"


def test_before_fit_there_are_no_answers(data: tuple[np.ndarray, np.ndarray]) -> None:
    for ask in (quick().predict, quick().predict_proba):
        with pytest.raises(NotFittedError):
            ask(data[0])
    with pytest.raises(NotFittedError):
        quick().score(*data)


def test_a_fit_that_fails_leaves_no_half_of_it(data: tuple[np.ndarray, np.ndarray]) -> None:
    model = quick()
    with pytest.raises(DataError):
        model.fit(data[0], data[1][:-1])
    with pytest.raises(NotFittedError):
        model.predict(data[0])


def test_wrong_labels_are_named(data: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = data
    numbers = np.linspace(0.1, 5, len(x))
    nothing = np.where(np.arange(len(x)) == 3, np.nan, 1.0)
    for labels, words in [
        (y[:-1], r"72 inputs came with labels of shape \(71,\)"),
        (y[:, None], r"labels of shape \(72, 1\)"),
        (numbers, r"numbers such as 0\.1"),
        (nothing, "numbers such as nan"),
        (np.array([1, "b"] * (len(x) // 2), dtype=object), "no order"),
        (np.full(len(x), "cat"), "cat"),
    ]:
        with pytest.raises(DataError, match=words):
            quick().fit(x, labels)


def test_wrong_images_parameters_and_networks_are_named(data: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = data
    with pytest.raises(DataError, match="shape"):
        quick().fit(x.reshape(len(x), -1), y)
    with pytest.raises(DataError, match=r"-1\.\."):
        quick().fit(x.astype(float) / 127.5 - 1, y)
    with pytest.raises(RecipeError, match="batch_size"):
        quick(recipe={"batchsize": 3}).fit(x, y)
    with pytest.raises(UsageError, match="no network"):
        ImageClassifier("cnn-29").fit(x, y)


def test_the_least_is_three_different_images_of_a_class(data: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = data
    few = np.concatenate([np.flatnonzero(y == kind)[:3] for kind in images.KINDS])
    model = quick(epochs=1).fit(x[few], y[few])
    assert model.classes_.tolist() == ["disc", "square", "stripes"] and model.metrics_["n"] == 3
    fewer = np.concatenate([np.flatnonzero(y == kind)[:2] for kind in images.KINDS])
    with pytest.raises(DataError, match=r"valid part is empty.*three different"):
        quick(epochs=1).fit(x[fewer], y[fewer])
    # One rare class beside others is kept, and can be answered.
    rare = np.concatenate([few, np.flatnonzero(y == "disc")[3:4]])
    kinds = np.where(np.arange(len(rare)) == len(rare) - 1, "rare", y[rare])
    assert "rare" in quick(epochs=1).fit(x[rare], kinds).classes_


def test_values_that_are_no_pixels_are_refused_in_prediction_too(
    fitted: ImageClassifier, data: tuple[np.ndarray, np.ndarray]
) -> None:
    broken = data[0].astype(float)
    broken[3, 0, 0, 0] = np.nan
    with pytest.raises(DataError, match="nan"):
        fitted.predict(broken)


def test_a_run_folder_is_kept_where_one_is_asked_for(data: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    x, y = data
    model = quick(epochs=1, out=tmp_path / "run").fit(x, y)
    again = layerwise.load(tmp_path / "run", device="cpu")
    assert again.classes == ("disc", "square", "stripes")
    names = [f"p:{name}" for name in again.classes]
    assert np.array_equal(again.predict(x).select(names).to_numpy(), model.predict_proba(x))
    with pytest.raises(UsageError, match="holds a run already"):
        model.fit(x, y)


def test_without_one_nothing_stays_on_disk(
    data: tuple[np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    quick(epochs=1).fit(*data)
    assert list(tmp_path.iterdir()) == []


def test_a_fitted_one_can_be_copied_to_another_process(
    fitted: ImageClassifier, data: tuple[np.ndarray, np.ndarray]
) -> None:
    other = pickle.loads(pickle.dumps(fitted))  # what joblib does between processes; files of ours never need it
    assert np.array_equal(other.predict_proba(data[0]), fitted.predict_proba(data[0]))


def test_cross_val_score_and_a_pipeline(data: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = data
    found = cross_val_score(make_pipeline(quick(epochs=10)), x, y, cv=3, error_score="raise")
    assert found.shape == (3,) and found.mean() > 0.5


@pytest.mark.slow
def test_grid_search_in_two_processes(data: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = data
    grid = {"epochs": [1, 10], "recipe": [{"batch_size": 16}]}
    search = GridSearchCV(quick(), grid, cv=2, n_jobs=2, error_score="raise").fit(x, y)
    assert search.best_params_["epochs"] == 10
    assert search.best_estimator_.score(x, y) > 0.7
    assert search.predict_proba(x).shape == (len(x), 3)
