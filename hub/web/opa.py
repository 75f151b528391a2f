"""What an OPA server fetches from the hub: the signed bundle of policy and catalogue, again only when it has changed.

It names agencies, purposes and fields and nobody else; still, all agreements are in it, so who fetches shows a token.
"""

import orjson
from anyio import to_thread
from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from hub.ports import Bundle
from hub.settings import Settings
from hub.token_file import read_token, shows
from hub.web.running import hub_of


def bundle_routes(token: str = "") -> APIRouter:
    """Serve `/opa/bundle.tar.gz` to who shows `token` (to anybody where it is empty); to others nothing is there."""
    router = APIRouter()

    @router.get("/opa/bundle.tar.gz")
    async def bundle(request: Request) -> Response:
        if token and not shows(request.headers.get("authorization", ""), token):
            raise HTTPException(404)
        made = await to_thread.run_sync(hub_of(request).policy_bundle)
        headers = {"ETag": _etag(made), "Cache-Control": "no-cache"}
        if _etag(made) in [one.strip() for one in request.headers.get("if-none-match", "").split(",")]:
            return Response(status_code=304, headers=headers)
        return Response(made.content, media_type="application/gzip", headers=headers)

    return router


def bundle_admin_routes() -> APIRouter:
    """Serve the same to operators, and the public key that OPA verifies it with."""
    router = bundle_routes()

    @router.get("/opa/key")
    async def key(request: Request) -> Response:
        made = await to_thread.run_sync(hub_of(request).policy_bundle)
        document = {"revision": made.revision, "kid": made.kid, "algorithm": made.algorithm, "pem": made.pem}
        return Response(orjson.dumps(document), media_type="application/json")

    return router


def public_bundle(settings: Settings) -> APIRouter | None:
    """Make the route for the public port; None where it has none. Raises HubError(STARTUP) for an unusable token."""
    path = settings.opa_bundle_token_file
    if path is None:
        return None
    setting = "HUB_OPA_BUNDLE_TOKEN_FILE"
    return bundle_routes(read_token(path, "/opa/bundle.tar.gz", setting=setting, code="opa-bundle-token-file"))


def _etag(made: Bundle) -> str:
    return f'"{made.revision.rpartition(":")[2]}-{made.kid}"'
