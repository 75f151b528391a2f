"""One AsyncAPI 3.0 document per agency: only its own channels, with its own reduced schemas, from the catalogue.

The application that is described is the agency's: it *receives* deliveries and *sends* acknowledgements. Messages are
CloudEvents 1.0 with the attribute `kind`; a delivery belongs to the channel that its `type`, `purpose` and `agreement`
name, whichever way out it comes.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hub.core.agreement import Catalogue, Subscription
from hub.core.reduced import reduced_schema

VERSION = "3.0.0"
CLOUD_EVENT = "application/cloudevents+json"
FEED, ACKNOWLEDGE = "/v1/deliveries", "/v1/deliveries/acknowledgements"
PULL = {
    "http": {
        "method": "GET",
        "query": {
            "type": "object",
            "properties": {
                "limit": {"type": "integer", "minimum": 1, "maximum": 500},
                "wait_s": {"type": "integer", "minimum": 0, "maximum": 30},
            },
        },
        "bindingVersion": "0.3.0",
    }
}
ID = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
KINDS = ("data", "correction", "stop", "delete")
NUMBER = {"type": "integer", "minimum": 1}


def asyncapi_document(
    catalogue: Catalogue, agency: str, *, issuer: str, ways: Sequence[str] = ("pull",)
) -> dict[str, Any]:
    """Describe what an agency receives, by every way out that is configured for it (`pull`, `webhook`, `file`)."""
    lines = [one for _, one in sorted(catalogue.subscriptions.items()) if one.recipient == agency]
    provides = any(one.provider == agency for one in catalogue.datasets.values())
    channels = {channel_of(one): _channel(one, ways) for one in lines}
    messages = {name: message for one in lines for name, message in _messages(one).items()}
    schemas = {name: schema for one in lines for name, schema in _schemas(one).items()}
    channels["notices"] = _notices(ways, asks=provides)
    channels["acknowledgements"] = {
        "address": ACKNOWLEDGE,
        "title": "What the agency says it has",
        "messages": {"acknowledgements": _message("acknowledgements")},
    }
    common = {"notice": _notice(), "acknowledgements": _acknowledgements()} | ({"ask": _ask()} if provides else {})
    return {
        "asyncapi": VERSION,
        "id": f"urn:agency:{agency}",
        "info": {
            "title": f"What {catalogue.agencies[agency].titles.get('en', agency)} receives from the exchange hub",
            "version": f"1.0.0-{catalogue.digest[:12]}",
            "description": "Generated from the agreements that this agency is the recipient of. Nothing else is sent.",
        },
        "defaultContentType": CLOUD_EVENT,
        "servers": {"hub": _server(issuer)},
        "channels": channels,
        "operations": dict(_operations(lines, asks=provides)),
        "components": {
            "messages": messages | common,
            "schemas": schemas,
            "securitySchemes": {"agency": _sign_in(issuer)},
        },
    }


def channel_of(subscription: Subscription) -> str:
    """Name a subscription's channel: the same for every version of its agreement."""
    words = (subscription.dataset.name, subscription.purpose.code, subscription.agreement.code)
    return "_".join(words).replace(".", "-")


def _channel(one: Subscription, ways: Sequence[str]) -> dict[str, Any]:
    name = channel_of(one)
    return {
        "address": FEED,
        "title": one.purpose.titles.get("en", one.purpose.code),
        "description": f"{one.dataset.name} from {one.agreement.provider} under {one.agreement.code}.",
        "messages": {kind: _message(f"{name}_{kind}") for kind in KINDS},
        "x-dataset": one.dataset.name,
        "x-ways-out": list(ways),
    }


def _notices(ways: Sequence[str], *, asks: bool) -> dict[str, Any]:
    messages = {"notice": _message("notice")} | ({"ask": _message("ask")} if asks else {})
    return {"address": FEED, "title": "What the hub says itself", "messages": messages, "x-ways-out": list(ways)}


def _schemas(one: Subscription) -> dict[str, Any]:
    """Give what `data` holds; of an answer no more than was asked for, so nothing in it is required."""
    whole, name = reduced_schema(one), channel_of(one)
    return {name: whole, f"{name}_asked": {member: said for member, said in whole.items() if member != "required"}}


def _messages(one: Subscription) -> dict[str, Any]:
    """Make a subscription's messages: data and corrections hold its schema, the others only whom they are about."""
    name, found = channel_of(one), dict[str, Any]()
    for kind in KINDS:
        extra: dict[str, Any] = {"purpose": {"const": one.purpose.code}, "agreement": {"const": one.agreement.code}}
        extra |= {"agreementversion": NUMBER, "subject": {"type": "string", "minLength": 1}, "data": {"type": "object"}}
        if kind in ("data", "correction"):
            extra |= {"type": {"const": one.dataset.name}, "dataschema": {"type": "string"}}
            extra |= {"ask": ID, "backfill": {"const": True}, "corrects": ID}
        else:
            extra["type"] = {"const": f"hub.{kind}"}
        required = ["purpose", "agreement", "data"] if kind != "delete" else ["data"]
        title = f"{one.dataset.titles.get('en', one.dataset.name)}: {kind}"
        message = _cloud_event(kind, title, extra, [*required, "corrects"] if kind == "correction" else required)
        if kind in ("data", "correction"):
            message["payload"] |= {"if": {"required": ["ask"]}, "then": _data(f"{name}_asked"), "else": _data(name)}
        found[f"{name}_{kind}"] = message
    return found


def _data(schema: str) -> dict[str, Any]:
    return {"properties": {"data": {"$ref": f"#/components/schemas/{schema}"}}}


def _notice() -> dict[str, Any]:
    data = {"type": "object", "required": ["type"], "properties": {"type": {"type": "string"}}}
    return _cloud_event("notice", "A message of the hub's", {"type": {"const": "hub.notice"}, "data": data}, ["data"])


def _ask() -> dict[str, Any]:
    fields = {"type": "array", "items": {"type": "string"}}
    data = {"type": "object", "required": ["fields"], "properties": {"fields": fields}}
    extra = {"type": {"const": "hub.ask"}, "ask": ID, "subject": {"type": "string"}, "data": data}
    return _cloud_event("ask", "A question about one person", extra, ["ask", "data"])


def _cloud_event(kind: str, title: str, extra: Mapping[str, Any], required: Sequence[str]) -> dict[str, Any]:
    properties = {
        "specversion": {"const": "1.0"},
        "id": ID,
        "source": {"const": "urn:hub"},
        "time": {"type": "string", "format": "date-time"},
        "kind": {"const": kind},
        "number": NUMBER,
        **extra,
    }
    always = ["specversion", "id", "source", "type", "time", "kind", "number", *required]
    payload = {"type": "object", "required": always, "properties": properties}
    return {"name": kind, "title": title, "contentType": CLOUD_EVENT, "payload": payload}


def _acknowledgements() -> dict[str, Any]:
    used = {"type": "array", "items": {"type": "string"}, "maxItems": 200}
    one = {
        "type": "object",
        "additionalProperties": False,
        "required": ["number", "id"],
        "properties": {"number": NUMBER, "id": ID, "fields_used": used},
    }
    items = {"type": "array", "items": one, "maxItems": 5_000}
    payload = {
        "type": "object",
        "additionalProperties": False,
        "required": ["acknowledgements"],
        "properties": {"acknowledgements": items},
    }
    title = "Deliveries that the agency has"
    return {"name": "acknowledgements", "title": title, "contentType": "application/json", "payload": payload}


def _operations(lines: Iterable[Subscription], *, asks: bool) -> Iterable[tuple[str, dict[str, Any]]]:
    for one in lines:
        name = channel_of(one)
        yield f"receive_{name}", _receive(name, KINDS)
    yield "receive_notices", _receive("notices", ("notice", "ask") if asks else ("notice",))
    yield (
        "acknowledge",
        {
            "action": "send",
            "title": "Say what was handled; until then it comes again",
            "channel": {"$ref": "#/channels/acknowledgements"},
            "messages": [{"$ref": "#/channels/acknowledgements/messages/acknowledgements"}],
            "bindings": {"http": {"method": "POST", "bindingVersion": "0.3.0"}},
        },
    )


def _receive(channel: str, kinds: Sequence[str]) -> dict[str, Any]:
    return {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{kind}"} for kind in kinds],
        "bindings": PULL,
    }


def _message(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/messages/{name}"}


def _server(issuer: str) -> dict[str, Any]:
    protocol, _, rest = issuer.partition("://")  # a bare URL: the settings see to that
    host, slash, path = rest.partition("/")
    server: dict[str, Any] = {"host": host, "protocol": protocol} | ({"pathname": slash + path} if path else {})
    return {**server, "security": [{"$ref": "#/components/securitySchemes/agency"}]}


def _sign_in(issuer: str) -> dict[str, Any]:
    flow = {
        "tokenUrl": f"{issuer}/oauth/token",
        "availableScopes": {"deliveries:read": "Take deliveries and acknowledge them."},
    }
    text = "Client credentials with private_key_jwt (RFC 7523)."
    return {"type": "oauth2", "description": text, "flows": {"clientCredentials": flow}, "scopes": ["deliveries:read"]}
