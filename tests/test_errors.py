"""How errors are worded, and what they can be caught as."""

import pytest

import kerasresnet as kr
from kerasresnet.errors import listing, unknown


@pytest.mark.parametrize("name", ["DataError", "WeightsError", "ArtifactError"])
def test_every_own_error_is_caught_as_the_base_class_and_as_a_value_error(name):
    error = getattr(kr, name)("why")
    assert isinstance(error, kr.KerasResNetError)
    assert isinstance(error, ValueError)
    assert str(error) == "why"


def test_an_unknown_name_is_answered_with_the_nearest_and_all_others():
    error = unknown("stage", "conv_5", ["conv4", "conv5"])
    expected = "Unknown stage 'conv_5'. Did you mean 'conv5'? "
    assert str(error) == expected + "Expected one of: 'conv4', 'conv5'."
    assert type(error) is ValueError


def test_of_a_thousand_options_the_nearest_is_named_and_few_are_listed():
    text = str(unknown("class", "class 98.", [f"class {i}" for i in range(1000)]))
    assert "Did you mean 'class 98'?" in text
    assert text.endswith("'class 19' and 980 more.")


@pytest.mark.parametrize("value", ["zzz", 7, None])
def test_a_name_that_is_near_to_nothing_gets_no_suggestion(value):
    text = str(unknown("stage", value, ["conv4", "conv5"]))
    assert "Did you mean" not in text
    assert repr(value) in text


def test_a_list_names_the_first_and_counts_the_rest():
    assert listing([]) == ""
    assert listing(range(5)) == "0, 1, 2, 3, 4"
    assert listing(range(6)) == "0, 1, 2, 3, 4 and 1 more"
    assert listing(range(5000), most=2) == "0, 1 and 4,998 more"
