"""Whatever is wrong with an assertion, the answer is clean: a 401 problem that repeats nothing."""

import base64
import json
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hub.web.quota import Quota
from tests.agency_world import CANARY, World, refusal, sign

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.just(CANARY),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
CLAIM = st.sampled_from(["iss", "sub", "aud", "iat", "exp", "jti"])
TIMES = st.integers(max_value=-1) | st.integers(min_value=1 << 40)  # as iat or exp never good here


@st.composite
def broken_assertions(draw: st.DrawFn) -> Callable[[World], str]:
    """Draw a way to break a good assertion: its text, its header, or a claim; signed with the right key or not."""
    how = draw(st.sampled_from(["text", "segments", "cut", "claim", "payload", "header"]))
    text, at, name = draw(st.text(max_size=60)), draw(st.integers(0, 200)), draw(CLAIM)
    value = draw(TIMES if name in ("iat", "exp") else JSON_VALUES.filter(lambda v: not isinstance(v, str)))
    anything = draw(JSON_VALUES)
    header = draw(
        st.dictionaries(st.sampled_from(["alg", "typ", "kid", "crit", "b64", CANARY]), JSON_VALUES, min_size=1)
    )

    def segment(content: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()

    def broken(world: World) -> str:
        good = world.assertion()
        _head, body, signature = good.split(".")
        return {
            "text": lambda: text,
            "segments": lambda: f"{segment(anything)}.{segment(anything)}.{signature}",
            "cut": lambda: good[:at] + good[at + 1 :],
            "claim": lambda: world.assertion(**{name: value}),
            "payload": lambda: sign(anything, world.private),
            "header": lambda: f"{segment({'alg': 'EdDSA', 'kid': 'k1'} | header)}.{body}.{signature}",
        }[how]()

    return broken


@pytest.fixture(scope="module")
def shared_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("hub"), quota=Quota(requests_burst=1 << 30))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(broken=broken_assertions())
@example(broken=lambda world: world.assertion(exp=1e400))
@example(broken=lambda world: sign({"sub": "lindum", "iat": float("nan")}, world.private))
@example(broken=lambda _: "a" * 9000)
@example(broken=lambda _: "e30.e30.e30")
@example(broken=lambda _: f"{base64.urlsafe_b64encode(b'[' * 300).decode()}.e30.e30")
@example(broken=lambda world: sign(world.claims(), world.private, typ="at+jwt"))
def test_a_broken_assertion_always_gets_a_clean_401(shared_world: World, broken: Callable[[World], str]) -> None:
    """Whatever is broken, the answer is a problem of the sign-in family that repeats nothing that was sent."""
    answer = shared_world.ask(broken(shared_world))
    assert answer.status_code == 401, answer.text
    code = answer.json()["type"].rpartition("/")[2]
    assert code.startswith("assertion-")
    refusal(answer, code)
