"""What suits each network, the user's values over it, and recipes that come back from a run folder."""

from __future__ import annotations

import tomllib

import pytest

from layerwise.config import to_toml
from layerwise.errors import RecipeError, UsageError
from layerwise.tasks.gan_recipe import complete, rival_stage


def test_the_course_network_is_trained_as_in_the_course() -> None:
    (stage,) = complete({"model": "gan-tutorial"}, custom=False).stages
    optimizer, rules = stage.optimizer, stage.adversarial
    assert (optimizer.name, stage.learning_rate, optimizer.schedule, optimizer.ema) == ("adam", 1e-3, "constant", 0.0)
    assert (optimizer.momentum, optimizer.second_decay, optimizer.weight_decay) == (0.9, 0.999, None)
    assert (rules.loss, rules.r1, rules.diff_augment, rules.discriminator_steps) == ("bce", 0.0, (), 1)
    assert rules.discriminator_rate == 1.0 and stage.batch_size == 32


def test_the_users_values_win_over_what_suits_the_network() -> None:
    values = {"epochs": 2, "batch_size": 8, "optimizer": {"learning_rate": 0.5}, "adversarial": {"r1": 3.0}}
    (stage,) = complete({**values, "model": "gan-tutorial"}, custom=False).stages
    assert (stage.epochs, stage.batch_size, stage.learning_rate, stage.adversarial.r1) == (2, 8, 0.5, 3.0)
    assert stage.adversarial.loss == "bce" and stage.optimizer.name == "adam"


def test_policies_may_be_one_text() -> None:
    values = {"adversarial": {"diff_augment": "colour, translation"}}
    assert complete(values, custom=False).stages[0].adversarial.diff_augment == ("colour", "translation")
    with pytest.raises(RecipeError, match="diff_augment"):
        complete({"adversarial": {"diff_augment": "color"}}, custom=False)


def test_a_network_beside_the_one_that_is_named_follows_its_own_row() -> None:
    values = {"adversarial": {"loss": "hinge"}, "stages": [{"name": "gan"}, {"name": "gan-tutorial", "epochs": 3}]}
    first, second = complete(values, custom=False).stages
    assert first.adversarial.loss == "hinge" and second.adversarial.loss == "bce" and second.epochs == 3
    assert rival_stage("gan").model_copy(update={"epochs": 3}) == second
    assert rival_stage("gan-tutorial").name == "gan" and rival_stage("custom").name == "gan-tutorial"


def test_a_complete_recipe_comes_back_from_its_file_as_it_was() -> None:
    values = {"rival": True, "adversarial": {"r1": 2.0}, "network": {"latent": 7}, "stages": [{"name": "gan"}]}
    recipe = complete(values, custom=False)
    recipe = recipe.model_copy(update={"stages": (*recipe.stages, rival_stage("gan"))})
    back = complete(tomllib.loads(to_toml(recipe)), custom=False)
    assert back == recipe and back.stages[0].network == {"latent": 7} and back.stages[1].network == {}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"loss": "bce"}, "adversarial.loss"),
        ({"adversarial": {"los": "bce"}}, "adversarial.loss"),
        ({"adversarial": {"loss": "wgan"}}, "'hinge'"),
        ({"epochs": 2, "stages": [{"name": "gan"}]}, "Leave epochs out"),
        ({"stages": [{"name": "gan"}, {"name": "gan"}]}, "one name"),
        ({"adversarial": {"r1_every": 0}}, "r1_every"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(values: dict[str, object], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        complete(values, custom=False)


def test_an_unknown_network_is_named_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="gan-tutorial"):
        complete({"model": "gan-tutorail"}, custom=False)
