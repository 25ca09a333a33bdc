"""The stages that a recipe means."""

from __future__ import annotations

import pytest

from layerwise.config import build
from layerwise.errors import RecipeError
from layerwise.tasks.recipe import ImageRecipe, Stage, stages

NAMES = {"none": ["head"], "auto": ["head", "last"], "full": ["head", "last", "all"]}
LAYERS = 98


def shapes(thaw: object, epochs: int | None, *, fits: bool = False) -> tuple[Stage, ...]:
    return stages(build(ImageRecipe, {"thaw": thaw, "epochs": epochs}), layers=LAYERS, fits=fits)


@pytest.mark.parametrize("epochs", range(1, 21))
@pytest.mark.parametrize("thaw", NAMES)
def test_stages_share_out_the_epochs_and_thaw_ever_more_at_ever_lower_rates(thaw: str, epochs: int) -> None:
    found = shapes(thaw, epochs)
    assert sum(stage.epochs for stage in found) == epochs and min(stage.epochs for stage in found) >= 1
    names = [stage.name for stage in found]
    assert names == NAMES[thaw][: len(names)] and (len(names) == len(NAMES[thaw]) or epochs < 3)
    rates, shares = [stage.learning_rate for stage in found], [stage.share for stage in found]
    assert rates == sorted(set(rates), reverse=True) and rates[0] == ImageRecipe().optimizer.learning_rate
    assert shares == sorted(set(shares)) and shares[0] == 0.0
    assert {stage.solver for stage in found} == {"steps"}


def test_a_head_that_fits_in_one_piece_takes_one_epoch() -> None:
    assert [(stage.solver, stage.epochs) for stage in shapes("auto", 10, fits=True)] == [("lbfgs", 1), ("steps", 6)]
    assert [(stage.solver, stage.epochs) for stage in shapes("none", 100, fits=True)] == [("lbfgs", 1)]


@pytest.mark.parametrize("thaw", [{"share": 0.1}, {"last_layers": 10}])
def test_the_share_or_the_number_of_layers_to_thaw_can_be_said(thaw: dict[str, float]) -> None:
    head, last = shapes(thaw, None)
    assert head.share == 0.0 and round(last.share * LAYERS) == 10


@pytest.mark.parametrize("thaw", [{"share": 0.0}, {"last_layers": 0}])
def test_to_thaw_nothing_leaves_the_head(thaw: dict[str, float]) -> None:
    assert [stage.name for stage in shapes(thaw, None)] == ["head"]


def test_more_layers_than_there_are_and_two_measures_at_once_are_refused() -> None:
    with pytest.raises(RecipeError, match="98 layers"):
        shapes({"last_layers": 99}, None)
    with pytest.raises(RecipeError, match="give one of them"):
        build(ImageRecipe, {"thaw": {"last_layers": 9, "share": 0.5}})


def test_two_stages_of_one_name_are_refused() -> None:
    twice = [{"name": "a", "epochs": 1, "learning_rate": 0.1}] * 2
    with pytest.raises(RecipeError, match="one name"):
        stages(build(ImageRecipe, {"stages": twice}), layers=LAYERS)


def test_without_a_number_of_epochs_there_is_one_of_our_own() -> None:
    for thaw in NAMES:
        assert shapes(thaw, None) == shapes(thaw, sum(stage.epochs for stage in shapes(thaw, None)))


def test_a_network_that_starts_random_trains_whole() -> None:
    assert stages(ImageRecipe(epochs=7), layers=0) == (Stage(name="all", epochs=7, learning_rate=1e-3),)


def test_stages_of_the_users_own_replace_all_others() -> None:
    own = [{"name": "mine", "epochs": 2, "learning_rate": 0.1, "share": 0.25, "solver": "steps"}]
    own[0] |= {"blend": 1.0, "keep": None}
    recipe = build(ImageRecipe, {"stages": own, "thaw": "full"})
    assert [stage.model_dump() for stage in stages(recipe, layers=LAYERS)] == own


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"stages": [{"name": "a", "epochs": 0, "learning_rate": 0.1}]}, "stages.0.epochs"),
        ({"stages": [{"name": "a", "epochs": 1, "learning_rate": -1}]}, "stages.0.learning_rate"),
        ({"stages": [{"name": "a", "epochs": 1, "learning_rate": 1, "share": 1.5}]}, "stages.0.share"),
        ({"epochs": 0}, "epochs"),
        ({"data": {"size": 4}}, "data.size"),
        ({"stop": {"metric": "f1"}}, "stop.metric"),
        ({"thaw": "some"}, "thaw.mode"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_by_its_path(values: dict[str, object], path: str) -> None:
    with pytest.raises(RecipeError, match=f'"{path}" is'):
        build(ImageRecipe, values)
