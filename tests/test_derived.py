"""Derived fields: a closed set of pure functions that answer, or leave the field absent; they never raise."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.derived import FUNCTIONS, Bounds, band, count, exists, month, schema_of, year

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-11-02", "2026-11"),
        ("2026-11-02T23:30:00Z", "2026-11"),
        ("2026-11-02T23:30:00+03:00", "2026-11"),
        ("2026-02-30", None),
        ("2026-13-01", None),
        ("20261102", None),
        ("2026-W45-1", None),
        ("2026-11-02 ", None),
        ("2026-11-02Tnoon", None),
        ("", None),
        (20261102, None),
        (None, None),
    ],
)
def test_month_is_given_for_an_iso_date_and_for_nothing_else(value: object, expected: object) -> None:
    """A date or date-time that exists gives its month; whatever else stands there gives no field."""
    assert month(value) == expected
    assert year(value) == (None if expected is None else int(expected[:4]))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (-1, "<10"),
        (9.99, "<10"),
        (10, "10-20.5"),
        (20.4, "10-20.5"),
        (20.5, ">=20.5"),
        (10**30, ">=20.5"),
        (True, None),
        ("12", None),
        (float("nan"), None),
        (float("inf"), None),
        (None, None),
    ],
)
def test_a_band_is_half_open_and_hides_the_number(value: object, expected: object) -> None:
    """The lower limit belongs to a band, the upper one to the next; what is no number has no band."""
    assert band(value, (10, 20.5)) == expected


def test_large_bounds_are_written_out_in_full() -> None:
    """A bound of a million reads as such, not in scientific notation."""
    assert band(2_000_000, (1_000_000, 3_000_000)) == "1000000-3000000"


@pytest.mark.parametrize("value", [None, "", [], {}])
def test_what_is_absent_or_empty_does_not_exist(value: object) -> None:
    """Absent, null and empty are the same to `exists`."""
    assert exists(value) is False


@pytest.mark.parametrize("value", [0, False, "x", [None], {"a": None}])
def test_zero_and_false_exist(value: object) -> None:
    """A value that happens to be falsy in Python is still a value."""
    assert exists(value) is True


def test_count_counts_elements_of_arrays_only() -> None:
    """A text or an object has no count."""
    assert [count(value) for value in ([], ["a", "b"], "ab", {"a": 1}, None)] == [0, 2, None, None, None]


@given(ANY_JSON, st.sampled_from(sorted(FUNCTIONS)), st.sampled_from([(), (0.0,), (1.0, 2.0)]))
def test_no_value_makes_a_derived_field_raise(value: object, function: str, bounds: Bounds) -> None:
    """Whatever JSON stands in the base field, the answer is a JSON value of the promised type or no field."""
    answer = FUNCTIONS[function](value, bounds)
    json.dumps(answer, allow_nan=False)
    kinds = {"string": str, "integer": int, "boolean": bool}
    assert answer is None or isinstance(answer, kinds[schema_of(function)["type"]])
