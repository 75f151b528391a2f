"""`hub backfill`: see every backfill, open another after the first, and end one."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hub.app import Hub

app = typer.Typer(no_args_is_help=True, help="What providers held already, on its way to new recipients.")


@app.command("list")
def list_all() -> None:
    """List every backfill: whose it is, how far it is, and until when it may stay open."""
    from hub.commands.operator import ask, opened, running, settings_now
    from hub.exchange.backfills import list_backfills

    settings = settings_now()
    client = running(settings)
    if client is not None:
        with client:
            found = ask(client, "GET", "/backfills")
    else:
        with opened(settings) as hub:
            found = list_backfills(hub.world)
    for one in found:
        print(_line(one))
    if not found:
        print("There has been no backfill.")


@app.command("open")
def open_one(
    agreement: Annotated[str, typer.Argument(help="The agreement's code.")],
    purpose: Annotated[str, typer.Argument(help="The purpose's code.")],
    dataset: Annotated[str, typer.Argument(help="The dataset's name.")],
) -> None:
    """Open a backfill, also where there was one before. Its recipient opens the first by itself."""
    from hub.commands.operator import ask, opened, running, settings_now

    settings = settings_now()
    client = running(settings)
    wish = {"agreement": agreement, "purpose": purpose, "dataset": dataset}
    if client is not None:
        with client:
            print(_line(ask(client, "POST", "/backfills", wish)))
    else:
        with opened(settings) as hub:
            print(_line(_open(hub, wish)))


@app.command("close")
def close(backfill: Annotated[str, typer.Argument(help="The backfill's id, as `hub backfill list` names it.")]) -> None:
    """Say for the provider that all was sent. It closes once that has left; nothing that is on its way is lost."""
    from hub.commands.operator import ask, opened, running, settings_now
    from hub.exchange.backfills import end_backfill

    settings = settings_now()
    client = running(settings)
    if client is not None:
        with client:
            print(_line(ask(client, "POST", "/backfills/close", {"backfill": backfill})))
    else:
        with opened(settings) as hub:
            print(_line(end_backfill(hub.world, backfill)))


def _open(hub: "Hub", wish: dict[str, str]) -> dict[str, Any]:
    from hub.exchange.backfills import Wish, open_backfill

    return open_backfill(hub.world, Wish(**wish), days=hub.settings.backfill_days, again=True)


def _line(one: dict[str, Any]) -> str:
    done = f"{one['done']} of {one['persons']}" if one["persons"] else str(one["done"])
    until = f"closed {one['closed']}" if "closed" in one else f"until {one['until']}"
    line = "its line is not agreed any more"
    if "dataset" in one:
        line = f"{one['dataset']} for {one['purpose']}, {one['provider']} to {one['recipient']}"
    return f"{one['id']}  {one['state']:7} {done} persons  {until}  {line}"
