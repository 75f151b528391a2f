"""Bad input gets a problem: what, where, what to do; never a stack trace, never a value that the request brought."""

import ast
import io
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx
import jsonschema_rs
import pytest
from fastapi import Body, FastAPI, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from hub.core.errors import HubError, Item, Kind
from hub.exchange.schema_words import ITEMS, schema_items
from hub.logs import open_log
from hub.web.problem_titles import TITLES
from hub.web.problems import STATUS, TYPE_PREFIX, install, problem
from tests.doors import client_of, served

HUB = Path(__file__).resolve().parents[1] / "hub"
CANARY = "Doe Jane 1990"


class Wish(BaseModel):
    """What a made-up address takes."""

    model_config = ConfigDict(extra="forbid")
    born: int = Field(ge=1900, le=2100)
    kind: Literal["a", "b"]
    names: list[str] = Field(max_length=2)
    code: str = Field(pattern="^[A-Z]+$", max_length=4)


def failing() -> tuple[FastAPI, io.StringIO]:
    """Make an application with an address per kind of failure. Return it, and what it logs."""
    app, said = FastAPI(openapi_url=None), io.StringIO()

    @app.post("/wish")
    async def wish(wish: Annotated[Wish, Body()], limit: Annotated[int, Query(le=5)] = 1) -> dict[str, int]:
        return {"born": wish.born, "limit": limit}

    @app.get("/fail/{kind}")
    async def fail(kind: str, code: str = "", retry_after_s: int = 0) -> None:
        items = (Item("first", "/a", "do"), Item("second"))
        raise HubError(Kind(kind), "What", where="/w", remedy="Do", code=code, items=items, retry_after_s=retry_after_s)

    @app.get("/unexpected")
    def unexpected() -> None:
        try:
            int(CANARY)
        except ValueError as error:
            raise RuntimeError(f"with {CANARY}") from error

    @app.get("/breaks-off")
    async def breaks_off() -> StreamingResponse:
        async def half() -> AsyncIterator[bytes]:
            yield b"half"
            raise RuntimeError(CANARY)

        return StreamingResponse(half())

    @app.get("/framework/{status}")
    async def framework(status: int) -> None:
        raise HTTPException(status, detail=CANARY, headers={"x-secret": CANARY})

    install(app, open_log(clock=lambda: 0, stream=said))
    return app, said


def a_problem(answer: httpx.Response, code: str, status: int) -> dict[str, Any]:
    """Check that the answer is this problem and repeats nothing. Return its members."""
    body: dict[str, Any] = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert (answer.status_code, body["status"], body["type"]) == (status, status, TYPE_PREFIX + code)
    assert body["title"] == TITLES[code]
    assert CANARY not in answer.text + str(answer.headers)
    return body


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_error_is_a_problem_with_its_status(kind: Kind) -> None:
    """What, where, remedy and items arrive as they were raised."""
    body = a_problem(client_of(failing()[0]).get(f"/fail/{kind.value}"), kind.value, STATUS[kind])
    assert (body["detail"], body["where"], body["remedy"]) == ("What", "/w", "Do")
    assert body["items"] == [{"detail": "first", "where": "/a", "remedy": "do"}, {"detail": "second"}]


@pytest.mark.parametrize(
    ("path", "header", "value"),
    [
        ("/fail/too-many?retry_after_s=7", "retry-after", "7"),
        ("/fail/unavailable", "retry-after", "2"),
        ("/fail/unauthenticated?code=token-missing", "www-authenticate", 'Bearer realm="hub"'),
        (
            "/fail/unauthenticated?code=token-expired",
            "www-authenticate",
            'Bearer realm="hub", error="invalid_token", error_description="What"',
        ),
        (
            "/fail/forbidden?code=scope-missing",
            "www-authenticate",
            'Bearer realm="hub", error="insufficient_scope", error_description="What"',
        ),
        ("/fail/forbidden", "www-authenticate", None),
        ("/fail/invalid", "retry-after", None),
    ],
)
def test_headers_say_when_to_come_back_and_how_to_sign_in(path: str, header: str, value: str | None) -> None:
    """Retry-After (RFC 9110) and WWW-Authenticate (RFC 6750), where they apply and nowhere else."""
    assert client_of(failing()[0]).get(path).headers.get(header) == value


def test_a_finer_code_keeps_its_own_type_and_title() -> None:
    """An item of a batch is shaped by the same function as a whole answer."""
    shaped = problem(HubError(Kind.TOO_MANY, "Slowly.", code="quota-used-up", retry_after_s=3))
    assert shaped == {
        "type": TYPE_PREFIX + "quota-used-up",
        "title": TITLES["quota-used-up"],
        "status": 429,
        "detail": "Slowly.",
        "retry_after_s": 3,
    }


@pytest.mark.parametrize("body", [b"{", b"", b"\xff\xfe", b'{"born": 1990,}', b"nonsense " + CANARY.encode()])
def test_a_body_that_is_not_json_is_malformed(body: bytes) -> None:
    """400 with a remedy (an absent body is a missing field instead)."""
    answer = client_of(failing()[0]).post("/wish", content=body, headers={"content-type": "application/json"})
    a_problem(answer, "request-form" if body == b"" else "json-malformed", 422 if body == b"" else 400)


def test_input_of_the_wrong_form_gets_every_error_and_no_value() -> None:
    """Each with its JSON pointer; unknown names are shown only where they look like a programmer's."""
    wrong = {"born": CANARY, "kind": CANARY, "names": [CANARY, 1, "c"], "code": CANARY, "extra": 1, CANARY: 2}
    body = a_problem(client_of(failing()[0]).post(f"/wish?limit={CANARY}", json=wrong), "request-form", 422)
    found = {item["where"]: item["detail"] for item in body["items"]}
    assert found == {
        "/born": "must be a whole number",
        "/kind": "must be 'a' or 'b'",
        "/names": "must hold 2 or fewer elements",
        "/code": "must be of length 4 or less",
        "/extra": "is not known here",
        "/*": "is not known here",
        "?limit": "must be a whole number",
    }
    limits = {"born": 1, "kind": "a", "names": [], "code": "a"}
    body = a_problem(client_of(failing()[0]).post("/wish", json=limits), "request-form", 422)
    assert [item["detail"] for item in body["items"]] == ["must be at least 1900", "must be of the pattern ^[A-Z]+$"]


def test_no_such_address_and_no_such_method_are_problems() -> None:
    """404 does not repeat the address, which may hold ids; 405 says which methods there are."""
    client = client_of(failing()[0])
    a_problem(client.get(f"/v1/{CANARY}"), "not-found", 404)
    refused = client.delete("/wish")
    a_problem(refused, "method-not-allowed", 405)
    assert refused.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "malformed"), (401, "unauthenticated"), (415, "media-type-unsupported"), (418, "http-refused")],
)
def test_the_frameworks_own_refusals_lose_their_texts(status: int, code: str) -> None:
    """Whatever a library wrote into detail or headers stays inside."""
    a_problem(client_of(failing()[0]).get(f"/framework/{status}"), code, status)


def test_the_unexpected_is_a_reference_that_the_log_knows_too() -> None:
    """500 without trace or value; the log has the reference, class, cause and line, and no value either."""
    app, said = failing()
    client = client_of(app)
    body = a_problem(client.get("/unexpected"), "unexpected", 500)
    line = json.loads(said.getvalue())
    assert line["request"] == body["reference"]
    assert body["reference"] in body["detail"]
    assert (line["level"], line["exception"], line["caused_by"]) == ("error", "RuntimeError", "ValueError")
    assert CANARY not in said.getvalue()
    assert "Traceback" not in said.getvalue()
    assert client.get("/unexpected").json()["reference"] != body["reference"]


def test_the_unexpected_in_the_middle_of_an_answer_is_logged_without_values() -> None:
    """Nothing can be said to the client any more; nothing is said into the log that should not be there."""
    app, said = failing()
    with served(app, socket.create_server(("127.0.0.1", 0))) as address, pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{address}/breaks-off")
    assert json.loads(said.getvalue())["event"] == "request.failed"
    assert CANARY not in said.getvalue()


def raised_codes() -> dict[str, str]:
    """Find every `code="..."` in a call anywhere under hub/, with the place."""
    found = {}
    for path in HUB.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                for keyword in node.keywords:
                    value = keyword.value
                    if keyword.arg == "code" and isinstance(value, ast.Constant) and isinstance(value.value, str):
                        found[value.value] = f"{path.relative_to(HUB.parent)}:{node.lineno}"
    return found


def test_every_code_that_is_raised_has_its_title() -> None:
    """Add what is missing to hub/web/problem_titles.py."""
    missing = {code: place for code, place in raised_codes().items() if code not in TITLES}
    assert not missing
    assert {kind.value for kind in Kind} <= TITLES.keys()
    assert all(code == code.lower() and " " not in code and title for code, title in TITLES.items())


def test_every_listed_code_is_raised_somewhere() -> None:
    """A title that nobody needs any more goes."""
    sources = "".join(path.read_text() for path in HUB.rglob("*.py") if path.name != "problem_titles.py")
    assert [code for code in TITLES if f'"{code}"' not in sources] == []


# --- what breaks a dataset's schema


SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["dob", "sex"],
    "additionalProperties": False,
    "properties": {
        "dob": {"type": "string", "format": "date"},
        "sex": {"enum": ["f", "m", "x"]},
        "child_id": {"type": "string", "pattern": "^C[0-9]+$", "minLength": 3},
        "weight": {"type": ["integer", "null"], "minimum": 200, "exclusiveMaximum": 9000, "multipleOf": 10},
        "validUntil": {"type": "string", "format": "date-time", "maxLength": 40},
        "one": {"const": 1},
        "some": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "never": False,
        "notThis": {"not": {"type": "string"}},
        "mail": {"format": "email"},
        "address": {
            "type": "object",
            "required": ["street"],
            "properties": {"street": {"type": "string"}, "lines": {"type": "integer"}},
            "unevaluatedProperties": False,
        },
        "notes": {"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 3},
        "parents": {
            "type": "array",
            "minItems": 1,
            "maxItems": 2,
            "uniqueItems": True,
            "items": {"$ref": "#/$defs/parent"},
        },
    },
    "$defs": {"parent": {"type": "object", "properties": {"bornAt": {"type": "string"}}}},
}
NAMED = "civil.birth.registered v1"


def words(data: object) -> dict[str, str]:
    errors = jsonschema_rs.validator_for(SCHEMA, validate_formats=True).iter_errors(data)
    return {item.where: item.what for item in schema_items(errors, "/data", schema=NAMED)}


GOOD = {"dob": "2026-01-31", "sex": "f"}


@pytest.mark.parametrize(
    ("data", "where", "what"),
    [
        (
            {"dob": CANARY},
            "/data/dob",
            "/data/dob must be YYYY-MM-DD (civil.birth.registered v1); value not repeated here",
        ),
        ({"dob": 7}, "/data/dob", "must be text"),
        ({"sex": CANARY}, "/data/sex", "must be one of f, m, x"),
        ({"child_id": "X999"}, "/data/child_id", "must be of the pattern ^C[0-9]+$"),
        ({"child_id": "C1"}, "/data/child_id", "must be of length 3 or more"),
        ({"weight": 100}, "/data/weight", "must be at least 200"),
        ({"weight": 9000}, "/data/weight", "must be less than 9000"),
        ({"weight": 205}, "/data/weight", "must be a multiple of 10"),
        ({"weight": CANARY}, "/data/weight", "must be a whole number or null"),
        ({"validUntil": CANARY}, "/data/validUntil", "must be a time such as 2026-01-31T09:30:00Z (RFC 3339)"),
        ({"one": CANARY}, "/data/one", "must be 1"),
        ({"some": 5}, "/data/some", "must be in one of the forms that its schema permits"),
        ({"never": CANARY}, "/data/never", "must be absent"),
        ({"notThis": CANARY}, "/data/notThis", "must be of another form"),
        ({"mail": CANARY}, "/data/mail", "must be an e-mail address"),
        ({"address": {}}, "/data/address/street", "/data/address/street is required"),
        ({"address": {"street": "x", "lines": CANARY}}, "/data/address/lines", "must be a whole number"),
        ({"notes": {CANARY: CANARY}}, "/data/notes/*", "/data/notes/* must be a whole number"),
        ({"notes": {"height": CANARY}}, "/data/notes/height", "must be a whole number"),
        ({"notes": {"a": 1, "b": 2, "c": 3, "d": 4}}, "/data/notes", "must be an object of 3 or fewer properties"),
        ({"parents": []}, "/data/parents", "must be a list of 1 or more elements"),
        ({"parents": [{}, {}]}, "/data/parents", "must be a list without repeated elements"),
        ({"parents": [{"bornAt": 3}]}, "/data/parents/0/bornAt", "must be text"),
        ({"weigth": 1}, "/data/weigth", "/data/weigth is not a field of civil.birth.registered v1"),
        ({CANARY: CANARY}, "/data", "a property that is not a field of civil.birth.registered v1: number 1 of 1 such"),
        ({"address": {"street": "x", CANARY: 1}}, "/data/address", "its name is not repeated here"),
    ],
)
def test_each_broken_rule_of_a_schema_is_said_in_words(data: dict[str, object], where: str, what: str) -> None:
    """Where it is, what is wanted, which schema says so; the value is not repeated, nor is a name that may hold one."""
    found = words(GOOD | data)
    assert list(found) == [where]
    assert what in found[where]
    assert CANARY not in str(found)


def test_all_errors_of_a_schema_come_at_once_and_not_without_end() -> None:
    """Every error in one answer, up to a limit, after which they are counted."""
    assert set(words({"weight": 1, "one": 2, "extra": 3})) == {
        "/data/dob",
        "/data/sex",
        "/data/weight",
        "/data/one",
        "/data/extra",
    }
    assert "/data must be an object" in words([CANARY])["/data"]
    errors = jsonschema_rs.validator_for({"items": {"type": "string"}}).iter_errors([1] * 250)
    items = schema_items(errors, "/data", schema=NAMED)
    assert (len(items), items[-1].what) == (ITEMS + 1, f"150 more errors are not listed ({NAMED})")
