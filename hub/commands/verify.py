"""`hub verify`: check what a hub has signed, on any machine, with public keys alone: no settings, store or network."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hub.identity.receipts import Verified

app = typer.Typer(no_args_is_help=True, help="Check what a hub has signed, with public keys alone.")

EXIT_CODES = {"signature-wrong": 1, "not-a-receipt": 3, "key-unknown": 4, "keys-unusable": 5}  # 0 good, 2 wrong usage
UNREADABLE = 5


@app.callback()
def verify() -> None:
    """Check what a hub has signed, with public keys alone: no settings, no store, no network."""


@app.command()
def receipt(
    file: Annotated[
        Path, typer.Argument(help="The receipt as it was downloaded: a compact JWS. - reads it from stdin.")
    ],
    keys: Annotated[
        Path, typer.Option(help="Public keys: what the hub has under /.well-known/consent-receipt-keys.json.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Verify a receipt. Exit code 0: signed by one of the keys exactly as it stands. 1: altered. 3: not a receipt.
    4: signed by a key that is not among these. 5: a file cannot be read, or holds no keys.
    """
    from hub.identity.receipts import NotBelieved, read_keys, verify_receipt

    try:
        known = read_keys(_read(keys))
        good = verify_receipt(_read(file), known)
    except NotBelieved as error:
        _refuse(error.fault, error.what, error.where, as_json=as_json)
        raise typer.Exit(EXIT_CODES[error.fault]) from error
    except OSError as error:
        _refuse("unreadable", f"{error.filename} cannot be read: {error.strerror}", "file", as_json=as_json)
        raise typer.Exit(UNREADABLE) from error
    _tell(good, as_json=as_json)


def _read(path: Path) -> bytes:
    if str(path) == "-":
        return typer.get_binary_stream("stdin").read()
    return path.read_bytes()


def _refuse(fault: str, what: str, where: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"good": False, "fault": fault, "what": what, "where": where}))
        return
    typer.echo(f"NOT GOOD ({fault}): {what}. Where: {where}.", err=True)


def _tell(good: "Verified", *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"good": True, "key": good.kid, "receipt": good.said}))
        return
    said = good.said
    print(f"GOOD: receipt {said['id']}, signed by the key {good.kid}, exactly as it stands.")
    for name, text in _lines(said):
        print(f"  {name + ':':<11}{text}")


def _lines(said: Any) -> list[tuple[str, str]]:
    from consent.particulars import rfc3339

    about = "objection" if said["kind"] == "objection-receipt" else "consent"
    lines = [
        (about, said["record"]),
        ("act", said["action"]),
        ("state", said["state"]),
        ("moment", rfc3339(said["moment_us"])),
    ]
    scope = said.get("scope")
    if scope:
        lines.append(("recipient", f"{scope['recipient']} for {scope['purpose']}"))
        lines.append(("items", ", ".join(f"{dataset}/{name}" for dataset, name in scope["items"]) or "none"))
        lines += [("until", rfc3339(scope["until_us"]))] if scope["until_us"] else []
    lines.append(("opened", f"{len(said['opened_before'])} deliveries before it"))
    lines += [(name, said[name]) for name in ("issuer", "status") if said.get(name)]
    return lines
