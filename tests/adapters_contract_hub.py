"""A stand-in for the hub as agencies see it, nothing behind it: strict about the contract, failing when told to."""

import base64
import json
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from joserfc import jwt
from joserfc.jwk import OKPKey

from agency_adapters.clock import system_clock

BATCH_LIMIT = 50


class ContractHub:
    """Its whole state is public: tests set it up and look into it."""

    def __init__(self) -> None:
        self.issuer, self.clock_ahead_s, self.is_demo = "", 0, True
        self.keys: dict[str, OKPKey] = {}
        self.jtis: set[str] = set()
        self.tokens: set[str] = set()
        self.faults: list[str] = []  # one per request to /v1: a status; "lost": done, then 502; "cut": done, no answer
        self.asked: list[str] = []
        self.datasets: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.outbox: list[dict[str, Any]] = []
        self.handed_out: set[str] = set()
        self.acknowledged: list[str] = []
        self.links: list[dict[str, Any]] = []

    async def answer(self, request: Request) -> Response:
        path, body = request.url.path, await request.body()
        if path == "/oauth/token":
            return self.token(parse_qs(body.decode(), strict_parsing=True))
        if path == "/demo/agency-keys" and self.is_demo:
            told = json.loads(body)
            self.keys[told["agency"]] = OKPKey.import_key(told["jwk"])
            return JSONResponse({}, 201)
        if not path.startswith("/v1/"):
            known = path in ("/healthz", "/.well-known/oauth-authorization-server")
            return JSONResponse({"issuer": self.issuer}) if known else problem(404, "not-found")
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            return problem(401, "token-invalid")
        self.asked.append(path)
        fault = self.faults.pop(0) if self.faults else ""
        if fault.isdecimal():
            return problem(int(fault), "told-to-fail")
        done = self.serve(request, json.loads(body) if body else None)
        cut = StreamingResponse(iter([b"{"]), headers={"content-length": "10"})
        return {"lost": problem(502, "bad-gateway"), "cut": cut}.get(fault, done)

    def token(self, form: dict[str, list[str]]) -> Response:
        assertion = form["client_assertion"][0]
        claimed = json.loads(base64.urlsafe_b64decode(assertion.split(".")[1] + "=="))
        if claimed["sub"] not in self.keys:
            return problem(401, "assertion-unverified", error="invalid_client")
        claims = jwt.decode(assertion, self.keys[claimed["sub"]], algorithms=["Ed25519"]).claims
        fair = claims["iss"] == claims["sub"] and claims["aud"] == self.issuer and claims["exp"] - claims["iat"] == 240
        if not fair or claims["jti"] in self.jtis:
            return problem(401, "assertion-replayed", error="invalid_client")
        if not -30 <= system_clock() / 1e6 + self.clock_ahead_s - claims["iat"] <= 270:
            return problem(401, "assertion-expired", error="invalid_client")
        self.jtis.add(claims["jti"])
        self.tokens.add(token := secrets.token_hex(8))
        return JSONResponse({"access_token": token, "token_type": "Bearer", "expires_in": 300})

    def serve(self, request: Request, body: Any) -> Response:
        match request.method, request.url.path:
            case "POST", "/v1/events":
                batch = request.headers["content-type"] == "application/cloudevents-batch+json"
                assert batch or request.headers["content-type"] == "application/cloudevents+json"
                return self.publish(body if batch else [body], store="dry_run" not in request.query_params)
            case "GET", "/v1/deliveries":
                done = set(self.acknowledged)  # tens of thousands in a long run of kills: a list would take seconds
                page = [each for each in self.outbox if each["id"] not in done]
                limit = int(request.query_params["limit"])
                assert 0 <= int(request.query_params["wait_s"]) <= 30
                assert 1 <= limit <= 500
                self.handed_out |= {each["id"] for each in page[:limit]}
                return JSONResponse({"deliveries": page[:limit], "more": len(page) > limit})
            case "POST", "/v1/deliveries/acknowledgements":
                numbers = {each["id"]: each["number"] for each in self.outbox}
                ids = [each["id"] for each in body["acknowledgements"]]
                assert all(numbers.get(each["id"], 1) == each["number"] for each in body["acknowledgements"])
                if not set(ids) <= self.handed_out:
                    return problem(404, "not-found")
                done = set(self.acknowledged)
                fresh = [each for each in ids if each not in done]
                self.acknowledged += fresh
                return JSONResponse({"acknowledged": len(fresh), "already": len(ids) - len(fresh)})
            case "POST", "/v1/links" | "/v1/links/undo" | "/v1/links/dispute" | "/v1/links/settle":
                act = request.url.path.removeprefix("/v1/links").removeprefix("/")
                self.links += [({"act": act} if act else {}) | each for each in body["links"]]
                return JSONResponse({"items": [{"index": n, "status": "linked"} for n in range(len(body["links"]))]})
            case "POST", "/v1/consent-requests":
                return JSONResponse({"id": "cr-1"}, 201)
            case "GET", "/v1/agency":
                time_us = system_clock() + self.clock_ahead_s * 1_000_000
                return JSONResponse({"agreements": [{"code": "AGR-1"}], "datasets": self.datasets, "time_us": time_us})
            case _:
                return JSONResponse({"state": "handled"})

    def publish(self, events: list[dict[str, Any]], *, store: bool) -> Response:
        if len(events) > BATCH_LIMIT or any(len(str(event)) > 10_000 for event in events):
            return problem(413, "too-large")
        items: list[dict[str, Any]] = []
        for index, event in enumerate(events):
            item = {"index": index, "id": event["id"], "status": "accepted", "token": f"st1.{event['id']}"}
            if event["data"].get("bad"):
                told = {"type": "https://hub.example/problems/invalid", "detail": "bad", "status": 422}
                item = {"index": index, "id": event["id"], "status": "refused", "problem": told}
            items.append(item)
        refused = sum(item["status"] == "refused" for item in items)
        if len(items) == refused == 1:
            return problem(422, "invalid")
        self.events += [event for event, item in zip(events, items, strict=True) if store and "token" in item]
        counts = {"accepted": len(items) - refused, "refused": refused, "items": items}
        return JSONResponse(counts, 202 if refused < len(items) else 422)


def problem(status: int, code: str, **more: str) -> Response:
    members = {"type": f"https://hub.example/problems/{code}", "title": code, "status": status, "detail": code}
    return JSONResponse(members | more, status, media_type="application/problem+json")


@contextmanager
def serving(tls: Path | None = None) -> Iterator[ContractHub]:
    """Serve a new one on loopback; `issuer` is its address. `tls`: a PEM file of key and certificate."""
    contract, app = ContractHub(), FastAPI()
    app.add_api_route("/{path:path}", contract.answer, methods=["GET", "POST"])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        contract.issuer = f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", ssl_certfile=tls))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.005)
        try:
            yield contract
        finally:
            server.should_exit = True
            thread.join()
