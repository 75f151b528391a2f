"""What is asked, and the notice that was read: plain values with one canonical form, whatever order they came in."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.canonical import MAX_INT
from consent.errors import Code, ConsentError
from consent.notice import Notice, notice_from_json, shown
from consent.terms import MAX_DURATION_US, MAX_ITEMS, Item, Terms, check_choice, named, terms_from_json
from tests.consent_examples import TERMS

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
ITEMS = st.lists(
    st.builds(Item, NAMES, NAMES, required=st.booleans(), provider=NAMES),
    min_size=1,
    max_size=8,
    unique_by=lambda item: item.pair,
)
ANY_TERMS = st.builds(
    Terms,
    recipient=NAMES,
    purpose=NAMES,
    items=ITEMS.map(frozenset),
    duration_us=st.integers(1, MAX_DURATION_US),
    benefits=st.frozensets(NAMES, max_size=3),
)


def with_items(items: frozenset[Item], duration_us: int = 1) -> Terms:
    return Terms("lindum", "KINDER-PLACE", items, duration_us, frozenset())


@given(ANY_TERMS)
def test_terms_read_back_from_their_json_are_the_same_terms(terms: Terms) -> None:
    again = terms_from_json(terms.as_json())
    assert again == terms
    assert again.digest == terms.digest


@given(ANY_TERMS, st.randoms(use_true_random=False))
def test_the_order_in_which_items_and_benefits_were_written_changes_nothing(terms: Terms, dice: random.Random) -> None:
    items, benefits = [*terms.items], [*terms.benefits]
    dice.shuffle(items)
    dice.shuffle(benefits)
    shuffled = Terms(terms.recipient, terms.purpose, frozenset(items), terms.duration_us, frozenset(benefits))
    assert shuffled.digest == terms.digest


@given(ANY_TERMS, ANY_TERMS)
def test_two_terms_share_a_digest_only_when_they_are_the_same(one: Terms, other: Terms) -> None:
    assert (one.digest == other.digest) == (one == other)


def test_whether_a_field_is_required_is_part_of_what_is_asked() -> None:
    loose = frozenset(Item(*item.pair, required=False, provider=item.provider) for item in TERMS.items)
    changed = Terms(TERMS.recipient, TERMS.purpose, loose, TERMS.duration_us, TERMS.benefits)
    assert changed.digest != TERMS.digest


def test_nothing_in_the_terms_names_a_person_so_many_can_be_asked_the_same() -> None:
    assert set(TERMS.as_json()) == {"recipient", "purpose", "items", "duration_us", "benefits"}


@pytest.mark.parametrize(
    ("items", "duration_us"),
    [
        (frozenset(), 1),
        (frozenset(Item("d", f"f{n}", required=False, provider="p") for n in range(MAX_ITEMS + 1)), 1),
        (frozenset({Item("d", "f", required=False, provider="p"), Item("d", "f", required=True, provider="p")}), 1),
        (frozenset({Item("", "f", required=False, provider="p")}), 1),
        (frozenset({Item("d", "f" * 201, required=False, provider="p")}), 1),
        (frozenset({Item("d", "f", required=False, provider="p")}), 0),
        (frozenset({Item("d", "f", required=False, provider="p")}), MAX_DURATION_US + 1),
        (frozenset({Item("d", "f", required=False, provider="p")}), True),
    ],
)
def test_terms_that_ask_for_nothing_too_much_twice_or_for_ever_are_refused(
    items: frozenset[Item], duration_us: int
) -> None:
    with pytest.raises(ConsentError) as raised:
        with_items(items, duration_us)
    assert raised.value.code is Code.VALUE


def test_a_text_that_json_cannot_say_is_refused_when_it_is_written() -> None:
    with pytest.raises(ConsentError) as raised:
        _ = with_items(frozenset({Item("d", "\ud800", required=False, provider="p")})).digest
    assert raised.value.code is Code.VALUE


@given(ANY_TERMS, st.data())
def test_a_choice_is_good_exactly_when_its_datasets_keep_their_required_fields(
    terms: Terms, data: st.DataObject
) -> None:
    chosen = frozenset(data.draw(st.sets(st.sampled_from(sorted(terms.pairs)))))
    datasets = {dataset for dataset, _ in chosen}
    needed = {item.pair for item in terms.items if item.required and item.dataset in datasets}
    if chosen and needed <= chosen:
        check_choice(terms, chosen)
        return
    with pytest.raises(ConsentError) as raised:
        check_choice(terms, chosen)
    missing = needed - chosen if chosen else terms.required
    assert raised.value.code is (Code.REQUIRED_MISSING if chosen else Code.NOTHING_LEFT)
    assert raised.value.items == named(frozenset(missing))


def test_a_notice_is_named_by_version_language_and_the_hash_of_the_text_shown() -> None:
    notice = shown("Вы можете остановить это в любое время.", version=3, language="ru")
    assert notice_from_json(notice.as_json()) == notice
    assert notice.sha256 != shown("Вы можете остановить это в любое время", version=3, language="ru").sha256


@pytest.mark.parametrize(
    ("version", "language", "digest"),
    [(0, "en", bytes(32)), (1, "", bytes(32)), (1, "en", bytes(31)), (MAX_INT + 1, "en", bytes(32))],
)
def test_a_notice_without_version_language_or_hash_is_refused(version: int, language: str, digest: bytes) -> None:
    with pytest.raises(ConsentError) as raised:
        Notice(version, language, digest)
    assert raised.value.code is Code.VALUE
