"""The stages that a recipe means."""

from __future__ import annotations

import pytest

from layerwise.config import build
from layerwise.errors import RecipeError
from layerwise.tasks.recipe import ImageRecipe, Stage, stages

NAMES = {"none": ["head"], "auto": ["head", "last", "earlier"], "full": ["head", "last", "all"]}


def shapes(thaw: str, epochs: int | None) -> tuple[Stage, ...]:
    return stages(build(ImageRecipe, {"thaw": thaw, "epochs": epochs}), transfer=True)


@pytest.mark.parametrize("epochs", range(1, 21))
@pytest.mark.parametrize("thaw", NAMES)
def test_stages_share_out_the_epochs_and_thaw_ever_more_at_ever_lower_rates(thaw: str, epochs: int) -> None:
    found = shapes(thaw, epochs)
    assert sum(stage.epochs for stage in found) == epochs and min(stage.epochs for stage in found) >= 1
    names = [stage.name for stage in found]
    assert names == NAMES[thaw][: len(names)] and (len(names) == len(NAMES[thaw]) or epochs < 4)
    rates, shares = [stage.learning_rate for stage in found], [stage.share for stage in found]
    assert rates == sorted(set(rates), reverse=True) and rates[0] == ImageRecipe().optimizer.learning_rate
    assert shares == sorted(set(shares)) and shares[0] == 0.0
    assert found[0].epochs == max(stage.epochs for stage in found)  # the new head has most to learn


def test_without_a_number_of_epochs_there_is_one_of_our_own() -> None:
    for thaw in NAMES:
        assert shapes(thaw, None) == shapes(thaw, sum(stage.epochs for stage in shapes(thaw, None)))


@pytest.mark.parametrize(("transfer", "pretrained"), [(False, True), (True, False), (False, False)])
def test_a_network_that_starts_random_trains_whole(transfer: bool, pretrained: bool) -> None:
    recipe = ImageRecipe(epochs=7, pretrained=pretrained)
    assert stages(recipe, transfer=transfer) == (Stage(name="all", epochs=7, learning_rate=1e-3),)


def test_stages_of_the_users_own_replace_all_others() -> None:
    own = [{"name": "mine", "epochs": 2, "learning_rate": 0.1, "share": 0.25}]
    recipe = build(ImageRecipe, {"stages": own, "thaw": "full"})
    assert [stage.model_dump() for stage in stages(recipe, transfer=True)] == own


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"stages": [{"name": "a", "epochs": 0, "learning_rate": 0.1}]}, "stages.0.epochs"),
        ({"stages": [{"name": "a", "epochs": 1, "learning_rate": -1}]}, "stages.0.learning_rate"),
        ({"stages": [{"name": "a", "epochs": 1, "learning_rate": 1, "share": 1.5}]}, "stages.0.share"),
        ({"epochs": 0}, "epochs"),
        ({"data": {"size": 4}}, "data.size"),
        ({"stop": {"metric": "f1"}}, "stop.metric"),
        ({"thaw": "some"}, "thaw"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_by_its_path(values: dict[str, object], path: str) -> None:
    with pytest.raises(RecipeError, match=f'"{path}" is'):
        build(ImageRecipe, values)
