"""Recipes: every mistake is named."""

from pathlib import Path

import pytest

from support.places import ROOT
from training.recipe.loading import load_recipe
from training.recipe.recipe import Augmentation, RecipeError

RECIPES = sorted((ROOT / "training" / "recipes").glob("*.toml"))
SHORTEST = 'name = "a"\n[[stages]]\nepochs = 1\n'


def load(tmp_path: Path, text: str):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return load_recipe(path)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes_are_valid_and_named_as_their_file(path):
    assert load_recipe(path).name == path.stem


def test_the_tuned_recipe_is_the_studys_network():
    model = load_recipe(next(path for path in RECIPES if path.stem == "xception-tuned")).model
    assert (model.backbone, model.pooled_dropout) == ("xception", 0.0)
    assert (model.hidden_units, model.hidden_dropout) == (256, 0.1)


def test_the_shortest_recipe_has_no_augmentation(tmp_path):
    recipe = load(tmp_path, SHORTEST)
    assert recipe.augmentation == Augmentation()
    assert recipe.epochs == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SHORTEST + "[augmentation]\nrotation = 3", "did you mean augmentation.rotation_degrees"),
        ("nam = 'x'\n" + SHORTEST, "unknown key nam; did you mean name"),
        ("[[stages]]\nepochs = 1", "name is missing"),
        ("name = 'a'", "stages is missing"),
        ("name = 'a'\nstages = []", "no \\[\\[stages\\]\\]"),
        ("name = '../a'\n[[stages]]\nepochs = 1", "letters, digits"),
        ("name = 'a'\n[[stages]]\nlearning_rate = 1.0", "epochs is missing"),
        ("name = 'a'\n[[stages]]\nepochs = 'two'", "must be of type int"),
        ("name = 'a'\n[[stages]]\nepochs = true", "must be of type int"),
        ("name = 'a'\n[[stages]]\nepochs = 0", "epochs is 0; it must be 1"),
        (SHORTEST + "[model]\nbackbone = 'xeption'", "nearest: xception"),
        (SHORTEST + "[model]\nhidden_dropout = 1.5", "hidden_dropout is 1.5"),
        (SHORTEST + "[fit]\nprecision = 'float16'", "precision"),
        (SHORTEST + "[fit]\nbatch_size = 2.5", "must be of type int"),
        (SHORTEST + "model = 3", "epochs|model"),
        (SHORTEST + "[preprocessing]\nclip_limit = -1", "clip_limit"),
        ("name = ", "not a readable TOML"),
        (SHORTEST + "[fit]\naveraged_stages = [1, 2]", "averaged_stages is 2; it must be 1 to 1"),
        ("x = " + 2000 * "[" + 2000 * "]", "not a readable TOML"),
        (SHORTEST + "learning_rate = 1" + 400 * "0", "larger than any float"),
        (SHORTEST + "learning_rate = 1" + 5000 * "0", "not a readable TOML"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    with pytest.raises(RecipeError, match=message):
        load(tmp_path, text)


def test_a_missing_recipe_says_where_to_look(tmp_path):
    with pytest.raises(RecipeError, match="training/recipes"):
        load_recipe(tmp_path / "none.toml")
