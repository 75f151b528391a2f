"""Receipts: a page to read or print, and the file to keep."""

from typing import Any

import orjson
from fastapi import APIRouter, Response

from hub.citizens.receipts import own_receipt, own_receipt_signed
from hub.web.portal.failures import PageRoute
from hub.web.portal.own import own_given
from hub.web.portal.visit import HOME, Me, Mine, page
from hub.web.portal.wording import act_line

AT = f"{HOME}/receipts/{{receipt}}"


def receipt_routes() -> APIRouter:
    """Serve `GET /my/receipts/{receipt}` and the same as a file."""
    router = APIRouter(route_class=PageRoute)

    @router.get(AT)
    def get_receipt(me: Me, receipt: str) -> Response:
        said: dict[str, Any] = orjson.loads(own_receipt(me.desk, me.principal, receipt))
        return page(
            me,
            "receipt.html",
            at="sharing",
            title=me.texts.say("receipt.title"),
            receipt=said,
            act=_act(me, said),
            opened=[
                (me.titles.dataset(one["dataset"]), me.titles.agency(one["recipient"]), one["opened_us"])
                for one in said["opened_before"]
            ],
            href=f"{HOME}/receipts/{receipt}/file",
            back=f"{HOME}/sharing" if ":" in said["record"] else f"{HOME}/sharing/{said['record']}",
        )

    @router.get(f"{AT}/file")
    def get_file(me: Me, receipt: str) -> Response:
        """Hand out the receipt as it was signed (RFC 7515: application/jose): `hub verify receipt` reads it."""
        headers = {
            "content-disposition": f'attachment; filename="receipt-{receipt}.jws"',
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
        }
        jws = own_receipt_signed(me.desk, me.principal, receipt)
        return Response(jws, headers=headers, media_type="application/jose")

    return router


def _act(me: Mine, said: dict[str, Any]) -> str:
    """Say what the receipt is for. It names its record; whose data went where, the record says."""
    record = str(said["record"])
    if ":" in record:
        recipient, _, purpose = record.partition(":")
        return str(act_line(me.titles, me.texts, said["action"], recipient, purpose))
    offer = own_given(me, record)[0].offer
    return str(act_line(me.titles, me.texts, said["action"], offer.recipient, offer.purpose))
