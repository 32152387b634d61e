import math
import random
import subprocess
import sys
from dataclasses import fields
from itertools import pairwise

import pytest

from kerasresnet.durations import format_duration, parse_duration
from kerasresnet.recipes import Recipe, choose_recipe
from kerasresnet.rules import Facts

STEPS = {"conv5": 1 / 85, "conv4": 1 / 45, "conv3": 1 / 37, "conv1": 1 / 33}
DECIDED = [field.name for field in fields(Recipe) if field.name != "decisions"]
SIZES = [1, 3, 20, 99, 100, 101, 499, 500, 800, 999, 1000, 1333, 2000, 2667, 9999]
SIZES += [10_000, 19_999, 20_000, 50_000, 1_000_000]


def facts(images=500, classes=5, **changes):
    settings = {
        "smallest_class": max(images // classes, 1),
        "image_size": 224,
        "trunk_seconds": 1 / 90,
        "step_seconds": STEPS,
        "overhead_seconds": 6,
        "stage_overhead_seconds": 5,
        "validation_images": images // 4,
    }
    return Facts(images, classes=min(classes, images), **{**settings, **changes})


def random_facts(count):
    rng = random.Random(0)
    for _ in range(count):
        images = round(10 ** rng.uniform(0.3, 5))
        classes = rng.randint(1, min(images, 100))
        yield facts(
            images,
            classes,
            smallest_class=rng.randint(1, images // classes),
            image_size=rng.choice([32, 64, 96, 224]),
            trunk_seconds=10 ** rng.uniform(-4, 0),
            step_seconds={stage: 10 ** rng.uniform(-4, 0) for stage in STEPS},
            overhead_seconds=rng.uniform(0, 10),
            stage_overhead_seconds=rng.uniform(0, 10),
            validation_images=rng.randint(0, images),
        )


def reason(recipe, name):
    return next(each.reason for each in recipe.decisions if each.name == name)


def test_recipes_are_chosen_without_keras_or_numpy():
    code = (
        "import sys, kerasresnet.recipes; print({'keras', 'numpy'} & set(sys.modules))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "set()"


# rules ----------------------------------------------------------------------------------


@pytest.mark.parametrize("images", SIZES)
@pytest.mark.parametrize("budget", [None, 60.0])
def test_every_field_has_its_decision_with_a_reason_in_one_sentence(images, budget):
    try:
        recipe = choose_recipe(facts(images), time_budget=budget)
    except ValueError:
        assert images > 50 * budget
        return
    assert [each.name for each in recipe.decisions] == DECIDED
    for each in recipe.decisions:
        assert getattr(recipe, each.name) == each.value
        assert each.reason[0].isupper() or each.reason[0].isdigit()
        assert each.reason.endswith(".")


def test_more_images_never_mean_more_epochs_or_views_or_fewer_stages():
    recipes = [choose_recipe(facts(images)) for images in SIZES]
    tuned = [recipe for recipe in recipes if recipe.stages]
    assert len(tuned) > 10
    for fewer, more in pairwise(tuned):
        assert sum(more.epochs) <= sum(fewer.epochs)
        assert max(more.epochs) <= max(fewer.epochs)
        assert more.views <= fewer.views
        assert more.stages[: len(fewer.stages)] == fewer.stages
        assert more.batch_size >= fewer.batch_size


def test_every_recipe_has_a_probe_and_what_a_stage_needs():
    for each in random_facts(200):
        recipe = choose_recipe(each)
        assert recipe.probe
        assert len(recipe.epochs) == len(recipe.learning_rates) == len(recipe.stages)
        assert recipe.images == each.images
        assert sum(recipe.epochs) <= 20
        assert recipe.views <= max(recipe.epochs, default=1)


@pytest.mark.parametrize(
    ("images", "changes", "stages"),
    [
        (99, {}, ()),
        (100, {}, ("conv5",)),
        (999, {}, ("conv5",)),
        (1000, {}, ("conv5", "conv4")),
        (1000, {"image_size": 95}, ("conv5", "conv4", "conv3")),
        (9999, {"image_size": 96}, ("conv5", "conv4")),
        (10_000, {}, ("conv5", "conv4", "conv3")),
        (10_000, {"smallest_class": 19}, ("conv5",)),
    ],
)
def test_the_stages_begin_at_the_documented_numbers(images, changes, stages):
    assert choose_recipe(facts(images, **changes)).stages == stages


def test_conv5_begins_at_its_rate_and_earlier_stages_learn_more_slowly():
    for images in (500, 5000, 50_000):
        recipe = choose_recipe(facts(images))
        first = recipe.learning_rates[0]
        assert first * recipe.layer_decay == pytest.approx(1e-4)
        halves = [first / 2**i for i in range(len(recipe.stages))]
        assert recipe.learning_rates == pytest.approx(halves)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("probe", "Kumar et al. 2022, https://arxiv.org/abs/2202.10054"),
        ("stages", "Kornblith et al. 2019, https://arxiv.org/abs/1805.08974"),
        ("stages", "Yosinski et al. 2014, https://arxiv.org/abs/1411.1792"),
        ("epochs", "Kolesnikov et al. 2020, https://arxiv.org/abs/1912.11370"),
        ("layer_decay", "Howard and Ruder 2018, https://arxiv.org/abs/1801.06146"),
        ("learning_rates", "Chollet, https://keras.io/guides/transfer_learning"),
        ("batch_size", "Masters and Luschi 2018, https://arxiv.org/abs/1804.07612"),
        ("schedule", "Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983"),
        ("warmup", "Goyal et al. 2017, https://arxiv.org/abs/1706.02677"),
        ("augmentation", "Kolesnikov et al. 2020, https://arxiv.org/abs/1912.11370"),
        ("label_smoothing", "Szegedy et al. 2016, https://arxiv.org/abs/1512.00567"),
    ],
)
def test_a_reason_names_its_source(name, source):
    assert source in reason(choose_recipe(facts(5000)), name)


def test_a_recipe_of_the_probe_alone_says_what_is_not_used():
    recipe = choose_recipe(facts(50))
    assert "fewer than 20" in reason(recipe, "stages")
    unused = {each.name for each in recipe.decisions if "Not used" in each.reason}
    assert unused == set(DECIDED) - {"images", "probe", "stages", "seconds"}
    assert recipe.seconds == pytest.approx(6 + 62 / 90)


def test_the_predicted_time_is_that_of_passes_and_steps():
    small = facts(1000, step_seconds={"conv5": 0.02, "conv4": 0.05, "conv3": 0.1})
    recipe = choose_recipe(small, epochs=(3, 2), views=4)
    conv5 = 5 + 0.81 * (1000 * 4 + 250) / 90 + (1000 * 3 + 250 * 4 / 3) * 0.02
    conv4 = 5 + 0.45 * (1000 * 4 + 250) / 90 + (1000 * 2 + 250 * 3 / 3) * 0.05
    assert recipe.seconds == pytest.approx(6 + 1250 / 90 + conv5 + conv4)
    fresh = choose_recipe(small, epochs=(3, 2), views=None).seconds
    assert (
        fresh == choose_recipe(small, epochs=(3, 2), views=3).seconds - 0.45 * 1000 / 90
    )


def test_a_printed_recipe_shows_each_decision_within_the_line():
    recipe = choose_recipe(facts(5000), time_budget="5min", augmentation="strong")
    text = str(recipe)
    assert text.startswith(
        f"Recipe, predicted to take {format_duration(recipe.seconds)}:"
    )
    lines = text.splitlines()
    shown = [line.split()[0] for line in lines if not line.startswith(" ")]
    assert shown == ["Recipe,", *DECIDED]
    assert max(map(len, lines)) <= 100
    squeezed = " ".join(text.split())
    assert all(each.reason in squeezed for each in recipe.decisions)


def test_a_long_value_leaves_room_for_its_reason():
    text = str(choose_recipe(facts(), augmentation="a" * 200))
    assert max(map(len, text.splitlines())) <= 100


# time -----------------------------------------------------------------------------------


def test_the_budget_is_kept_and_a_smaller_one_never_takes_longer():
    fitted = 0
    for each in random_facts(150):
        full = choose_recipe(each).seconds
        longest = math.inf
        for share in (2, 1.2, 0.9, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.01):
            try:
                recipe = choose_recipe(each, time_budget=share * full)
            except ValueError as error:
                assert "too short" in str(error)  # noqa: PT017 - either may happen
                break
            fitted += 1
            assert recipe.seconds <= 0.9 * share * full
            assert recipe.seconds <= longest
            longest = recipe.seconds
    assert fitted > 600


def test_a_budget_that_suffices_changes_nothing():
    for each in random_facts(50):
        recipe = choose_recipe(each)
        assert choose_recipe(each, time_budget=recipe.seconds / 0.89) == recipe


def test_the_least_budget_that_an_error_states_is_enough_and_tight():
    for each in random_facts(100):
        with pytest.raises(ValueError, match="too short") as error:
            choose_recipe(each, time_budget=1e-6)
        stated = parse_duration(str(error.value).split("would do is ")[1].split(",")[0])
        recipe = choose_recipe(each, time_budget=stated)
        assert recipe.images >= min(each.images, 20 * each.classes)
        if stated > 1:
            with pytest.raises(ValueError, match="too short"):
                choose_recipe(each, time_budget=stated - 1.001)


def test_cuts_come_in_the_stated_order_and_say_so():
    big = facts(20_000)
    full = choose_recipe(big)
    order = []
    for share in [1.3 - i / 200 for i in range(259)]:
        try:
            recipe = choose_recipe(big, time_budget=share * full.seconds)
        except ValueError:
            break
        if not recipe.stages:
            order.append("images" if recipe.images < full.images else "probe")
        elif recipe.epochs != full.epochs[: len(recipe.epochs)]:
            order.append("epochs")
        elif recipe.stages != full.stages:
            order.append("stages")
        elif recipe.views != full.views:
            order.append("views")
        for name in ("views", "stages", "epochs", "images"):
            changed = getattr(recipe, name) != getattr(full, name)
            assert ("Cut from" in reason(recipe, name)) <= changed
            assert changed <= (reason(recipe, name) != reason(full, name))
    assert list(dict.fromkeys(order)) == [
        "views",
        "stages",
        "epochs",
        "probe",
        "images",
    ]


def test_views_cut_to_one_leave_the_photos_as_they_are():
    seen = set()
    for budget in range(60, 230, 5):
        recipe = choose_recipe(facts(), time_budget=budget)
        assert (recipe.views == 1) == (recipe.augmentation == "none")
        asked = choose_recipe(facts(), time_budget=budget, augmentation="strong")
        assert asked.augmentation == "strong"
        assert asked.views >= 2
        seen.add(recipe.views)
    assert {1, 8} < seen


def test_all_photos_are_used_while_the_probe_on_them_fits():
    each = facts(10_000, validation_images=0)
    enough = choose_recipe(each, time_budget=(6 + 10_000 / 90) / 0.9 + 0.01)
    less = choose_recipe(each, time_budget=(6 + 10_000 / 90) / 0.9 - 0.01)
    assert (enough.images, less.images) == (10_000, 9_999)
    assert "Cut from 10,000" in reason(less, "images")


# overrides ------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [None, "2min"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("images", 400),
        ("probe", False),
        ("stages", ("conv4",)),
        ("epochs", (2,)),
        ("layer_decay", 0.3),
        ("learning_rates", (3e-4,)),
        ("batch_size", 7),
        ("schedule", "one_cycle"),
        ("warmup", 0.05),
        ("augmentation", "standard"),
        ("views", 3),
        ("views", None),
        ("label_smoothing", 0.0),
    ],
)
def test_an_override_is_kept_as_given_whatever_the_budget(name, value, budget):
    recipe = choose_recipe(facts(), time_budget=budget, **{name: value})
    assert getattr(recipe, name) == value
    assert reason(recipe, name) == "As you asked."


@pytest.mark.parametrize(
    ("given", "name", "expected"),
    [
        ({"stages": "conv4"}, "stages", ("conv4",)),
        ({"stages": ["conv5", "conv1"], "epochs": 3}, "epochs", (3, 3)),
        ({"stages": ["conv5", "conv1"], "epochs": [3, 1]}, "epochs", (3, 1)),
        ({"learning_rates": 2e-5}, "learning_rates", (2e-5,)),
    ],
)
def test_one_value_stands_for_all_stages(given, name, expected):
    assert getattr(choose_recipe(facts(), **given), name) == expected


def test_one_number_of_epochs_stays_that_of_the_stages_that_a_budget_leaves():
    recipe = choose_recipe(facts(5000), epochs=2, time_budget="6min")
    assert (recipe.stages, recipe.epochs) == (("conv5",), (2,))
    assert reason(recipe, "epochs") == "As you asked."


@pytest.mark.parametrize("given", [{"epochs": 3}, {"learning_rates": 1e-5}])
def test_who_asks_for_epochs_or_rates_gets_a_stage_however_few_photos(given):
    each = facts(50)
    for budget in (None, "1min"):
        assert choose_recipe(each, time_budget=budget, **given).stages == ("conv5",)
    with pytest.raises(ValueError, match=f"with {next(iter(given))} as you asked"):
        choose_recipe(each, time_budget=5, **given)


def test_fewer_images_asked_for_are_what_the_rules_see():
    assert choose_recipe(facts(50_000), images=500) == Recipe(
        **{
            **vars(choose_recipe(facts(500, validation_images=12_500))),
            "decisions": choose_recipe(facts(50_000), images=500).decisions,
        }
    )
    with pytest.raises(ValueError, match="for 50,000 training photos"):
        choose_recipe(facts(50_000), images=50_000, time_budget="1min")


def test_other_rules_follow_an_override():
    assert choose_recipe(facts(), schedule="one_cycle").warmup == 0.25
    assert choose_recipe(facts(), augmentation="none").views == 1
    assert choose_recipe(facts(), augmentation="strong", epochs=1).views == 2
    assert choose_recipe(facts(), views=1).augmentation == "none"
    assert choose_recipe(facts(5000), layer_decay=0.1).learning_rates[0] == 1e-3
    assert choose_recipe(facts(50), probe=False).stages == ("conv5",)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epoch": 3}, "Did you mean 'epochs'"),
        ({"seconds": 3}, "Unknown part of a recipe 'seconds'"),
        ({"probe": "yes"}, "probe must be True or False"),
        ({"probe": False, "stages": ()}, "Nothing would be trained"),
        ({"stages": "conv6"}, "Unknown stage.*'conv6'"),
        ({"stages": "conv2"}, "step_seconds has no time for conv2"),
        ({"stages": ("conv4", "conv5")}, "from the last to the first"),
        ({"stages": "conv5", "epochs": (1, 2)}, "one value of epochs for each"),
        ({"stages": (), "learning_rates": (1e-4,)}, "one value of learning_rates"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1, received 0"),
        ({"epochs": 1.5}, "epochs must be a whole number"),
        ({"views": 0}, "views must be a whole number"),
        ({"layer_decay": 0}, "layer_decay must be above 0"),
        ({"images": 4}, "images must be a whole number of at least 5"),
        ({"images": 501}, "at most the 500 there are, received 501"),
    ],
)
def test_an_override_that_cannot_be_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        choose_recipe(facts(), **given)


def test_in_a_single_epoch_photos_are_seen_as_they_are():
    recipe = choose_recipe(facts(), epochs=1)
    assert (recipe.augmentation, recipe.views) == ("none", 1)
    assert choose_recipe(facts(), epochs=1, views=2).augmentation == "light"
