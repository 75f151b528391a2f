"""`hub keys`: every key there is, the rotation of those that can be, and a rehearsal of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hub.core.errors import HubError, Kind

if TYPE_CHECKING:
    from hub.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Every key: the list, rotation, and a rehearsal of it.")


@app.command()
def new(file: Annotated[Path, typer.Argument(help="Where to; on another volume than the data.")]) -> None:
    """Write a new root key, readable by its owner only. A file that is there is never replaced."""
    make(file)
    print(f"{file} holds a new root key. Back it up apart from the data: without it nothing stored can be opened.")


@app.command("list")
def list_() -> None:
    """List every key: what it is for, since when, and how it is rotated, or why it is not. No key is shown."""
    from hub.commands.operator import ask, opened, running, settings_now
    from hub.operations.steered import keys_of

    settings = settings_now()
    client = running(settings)
    if client is not None:
        with client:
            found = ask(client, "GET", "/keys")
    else:
        with opened(settings) as hub:
            found = keys_of(hub)
    _draw(found)


@app.command()
def rotate(
    what: Annotated[Literal["token", "receipt", "root", "wrapping"], typer.Argument(help="Which key.")] = "token",
    new_file: Annotated[Path | None, typer.Option(help="For root: where the new key is, or is to be made.")] = None,
) -> None:
    """Rotate a key, beside a running hub or without one: `token` signs access tokens, `receipt` citizens' receipts,
    of which former keys go on verifying theirs, `root` opens everything, `wrapping` wraps the keys of persons, days
    and waiting events, which a running hub then wraps anew by itself.
    """
    from hub.commands.operator import settings_now

    settings = settings_now()
    if what == "token":
        done = _act(settings, "/token-keys", None)
        print(f"Access tokens are signed with the key {done['kid']} from now on.")
        print(f"The former one, {done['former']}, verifies until its last token is over: {done['kept_s']} s from now.")
        return
    if what == "receipt":
        done = _act(settings, "/receipt-keys", None)
        print(f"Receipts are signed with the key {done['kid']} from now on.")
        print(f"The former one, {done['former']}, stays in the published set and verifies its receipts for ever.")
        return
    if what == "wrapping":
        done = _act(settings, "/wrapping-key", None)
        print(f"Everything is sealed under the wrapping key {done['key']} from now on.")
        print(f"What the former one, {done['former']}, sealed is sealed anew while the hub runs; then it is destroyed.")
        print("`hub status` says how far that is. Everything stays readable meanwhile, and after a crash.")
        return
    if new_file is None:
        raise typer.BadParameter("name the new root's file: --new-file FILE")
    done = _rotate_root(settings, new_file.absolute())
    print(f"The store opens with the new key {done['root']} now, and still with the former one, {done['former']}.")
    print(f"1. Back {new_file} up, apart from the data.   2. Set HUB_KEY_FILE={new_file} and restart the hub.")
    print("That start ends the former key. Keep its file as long as backups of before are kept: they need it.")


@app.command("rotate-webhook")
def rotate_webhook(agency: Annotated[str, typer.Argument(help="The agency's code, as in agencies.yaml.")]) -> None:
    """Sign an agency's webhooks with a new key as well. The former one signs beside it for a day, and is then gone."""
    from hub.commands.operator import ask, opened, running, settings_now

    settings = settings_now()
    client = running(settings)
    if client is not None:
        with client:
            done = ask(client, "POST", "/webhook-keys", {"agency": agency})
    else:
        with opened(settings) as hub:
            done = hub.rotate_webhook_key(agency)
    print(f"Webhooks to {agency} are signed with the key {done['kid']} too from now on: {done['public_key']}")
    print(f"The former one signs beside it until {done['former_until']}.")


@app.command()
def drill(
    folder: Annotated[Path | None, typer.Option(help="Where the copy is made; else beside the store.")] = None,
) -> None:
    """Rehearse every rotation on a copy of the store; the real one is only read. Exit code 1 where one failed."""
    from hub.clock import system_clock
    from hub.commands.operator import settings_now
    from hub.operations.drill import rehearse

    found = rehearse(settings_now(), folder, clock=system_clock)
    for one in found:
        print(f"{one.level}  {one.check:<12} {one.what}" + (f"\n{'':<19}{one.remedy}" if one.remedy else ""))
    if any(one.level == "FAIL" for one in found):
        raise typer.Exit(1)


def make(file: Path) -> None:
    """Make a key file. Raises HubError(STARTUP)."""
    from hub.identity.keys import make_key_file

    try:
        make_key_file(file)
    except OSError as cause:
        raise HubError(
            Kind.STARTUP,
            f"the key file cannot be made ({cause.strerror})",
            where=str(file),
            remedy="Name a file that is not there yet, in a folder you may write to.",
            code="key-file-unmakeable",
        ) from cause


def _rotate_root(settings: "Settings", file: Path) -> dict[str, Any]:
    """Make the file where it is not there, and rotate. Raises HubError where it would lie beside the data."""
    if settings.mode == "production" and file.resolve().is_relative_to(settings.data_dir.resolve()):
        raise HubError(
            Kind.STARTUP,
            "the new key would lie beside the data that it opens",
            where=str(file),
            remedy="Name a file outside HUB_DATA_DIR, best on another volume: in there the next start refuses it.",
            code="key-file-beside",
        )
    if not file.exists():
        make(file)
    return _act(settings, "/root-key", file)


def _act(settings: "Settings", path: str, file: Path | None) -> dict[str, Any]:
    from hub.commands.operator import ask, opened, running
    from hub.operations.steered import rotate_root_of, rotate_wrapping_of

    client = running(settings)
    if client is not None:
        with client:
            sent = {"new_file": str(file)} if file else None
            done: dict[str, Any] = ask(client, "POST", path, sent)
            return done
    with opened(settings) as hub:
        if path == "/wrapping-key":
            return rotate_wrapping_of(hub)
        if path == "/receipt-keys":
            return hub.rotate_receipt_key()
        return rotate_root_of(hub, file) if file else hub.rotate_token_key()


def _draw(found: list[dict[str, Any]]) -> None:
    from datetime import UTC, datetime

    for one in found:
        since = datetime.fromtimestamp(one["since_us"] / 1e6, UTC).strftime("%Y-%m-%d") if one["since_us"] else ""
        named = one["id"] or (f"{one['count']} of them" if one["count"] != 1 else "")
        print("  ".join(word for word in (f"{one['name']:<10}", since, named, one["for"]) if word))
        print(f"{'':<12}{one['rotate']}")
