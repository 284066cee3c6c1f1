import pickle
import unicodedata

import numpy as np
import pytest

from jax_resnet.data import DataError, classes
from jax_resnet.data.classes import ClassNamesError, match_classes, parse_class_map


def test_the_examples_of_the_docstring_hold():
    import doctest

    assert doctest.testmod(classes).failed == 0


def test_classes_are_matched_by_name_whatever_their_order():
    weights = [f"class {i}" for i in range(20)]
    order = np.random.default_rng(0).permutation(20)[:13]
    found = match_classes(weights, [weights[i] for i in order])
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, order)


def test_equal_names_are_equal_classes_even_where_two_have_one_name():
    names = ["crane", "maillot", "crane"]
    np.testing.assert_array_equal(match_classes(names, names), [0, 1, 2])
    with pytest.raises(ClassNamesError, match="crane"):
        match_classes(names, ["crane", "maillot"])
    np.testing.assert_array_equal(match_classes(names, ["crane", "maillot"], {"crane": 2}), [2, 1])


@pytest.mark.parametrize(
    ("weights", "data", "unmatched", "hint"),
    [
        (["1", "2", "10"], ["01", "02", "10"], ("01", "02"), "01 (did you mean 1?), 02 (did you mean 2?)"),
        (["Cat", "dog"], ["cat", "dog"], ("cat",), "cat (did you mean Cat?)"),
        (["polar bear", "dog"], ["polar_bear", "dog"], ("polar_bear",), "did you mean polar bear?"),
        (["tiger", "dog"], ["tigre", "dog"], ("tigre",), "did you mean tiger?"),
        (["0", "1"], ["00", "01"], ("00", "01"), "00 (did you mean 0?)"),
        (["a", "b"], ["b", "b "], ("b ",), "did you mean b?"),
    ],
)
def test_other_names_are_refused_with_near_misses_and_the_way_to_map_them(weights, data, unmatched, hint):
    with pytest.raises(ClassNamesError) as caught:
        match_classes(weights, data)
    message = str(caught.value)
    assert caught.value.unmatched == unmatched
    assert hint in message
    assert f"give a class map, such as {unmatched[0]}=" in message
    assert "\n" not in message
    assert isinstance(caught.value, DataError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == message


def test_a_map_takes_names_to_names_or_to_outputs():
    mapped = parse_class_map(["01=1", "02=2"])
    np.testing.assert_array_equal(match_classes(["1", "2", "10"], ["02", "10", "01"], mapped), [1, 2, 0])
    np.testing.assert_array_equal(match_classes(3, ["a", "b"], parse_class_map(["a=2", "b=0"])), [2, 0])
    np.testing.assert_array_equal(match_classes(["x", "y"], ["y", "a"], {"a": 0}), [1, 0])
    # A map can also exchange names that exist.
    np.testing.assert_array_equal(match_classes(["x", "y"], ["x", "y"], {"x": "y", "y": "x"}), [1, 0])


@pytest.mark.parametrize(
    ("weights", "data", "class_map", "message"),
    [
        (["a", "b"], ["a", "c"], {"d": "b"}, "the class map names d, which is no class of the data"),
        (["a", "bee"], ["a", "c"], {"c": "be"}, r"takes c to be, the name of no output \(did you mean bee"),
        (["a", "b"], ["a", "c"], {"c": "a"}, "a and c both are the weights' class a"),
        (["a", "b"], ["a", "c"], {"c": 2}, "takes c to 2: a number from 0 to 1 is needed"),
        (2, ["a", "c"], {"a": "b", "c": 1}, "takes a to b: a number from 0 to 1 is needed"),
        (2, ["a", "c"], {"a": -1, "c": 1}, "takes a to -1: a number"),
        (["a", "b"], ["a", "a"], None, "a and a both"),
    ],
)
def test_a_map_that_cannot_be_is_named(weights, data, class_map, message):
    with pytest.raises(ClassNamesError, match=message):
        match_classes(weights, data, class_map)


@pytest.mark.parametrize("entry", ["a", "=a", "a=", ""])
def test_entries_of_another_form_are_named(entry):
    with pytest.raises(ClassNamesError, match="maps no class: DATA=WEIGHTS is needed"):
        parse_class_map([entry])
    with pytest.raises(ClassNamesError, match="a is mapped twice, to b and to c"):
        parse_class_map(["a=b", "a=c"])


def test_one_name_in_two_unicode_forms_is_one_class():
    name = "pingüino"
    decomposed = unicodedata.normalize("NFD", name)  # as a Mac names folders
    assert decomposed != name
    np.testing.assert_array_equal(match_classes([name, "a"], ["a", decomposed]), [1, 0])


def test_weights_without_names_take_numbers_and_imagenets_wordnet_ids():
    folders = sorted(map(str, range(1000)))
    assert folders[2] == "10"
    np.testing.assert_array_equal(match_classes(1000, folders), [int(name) for name in folders])
    np.testing.assert_array_equal(match_classes(1000, ["000", "007", "999"]), [0, 7, 999])
    ids = [f"n{i:08d}" for i in range(1000, 11000, 10)]
    np.testing.assert_array_equal(match_classes(1000, ids), np.arange(1000))
    np.testing.assert_array_equal(match_classes(1000, ids[::-1]), np.arange(1000)[::-1])
    for data in (ids[:100], ["cat", "dog"], ["0", "1000"], ["0", "cat"]):
        with pytest.raises(ClassNamesError, match="the weights do not name their 1000 classes"):
            match_classes(1000, data)
    with pytest.raises(ClassNamesError, match="0 and 00 both are the weights' class 0"):
        match_classes(1000, ["0", "00"])
