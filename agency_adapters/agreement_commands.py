"""`hub-agency agreement` and `hub-agency officer`: what an agency's officers do at their own machine."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from agency_adapters import agreements
from agency_adapters.channel import Channel
from agency_adapters.client import HubClient
from agency_adapters.keys import new_key
from agency_adapters.profile import directory_of, read_profile

app = typer.Typer(no_args_is_help=True, help="Agreements: read, sign, suspend, resume, end.")
officer = typer.Typer(no_args_is_help=True, help="The keys of officers who sign agreements.")
Code = Annotated[str, typer.Argument(help="The agreement's code, like AGR-12.")]
ProfileName = Annotated[str | None, typer.Option("--profile", help="Which profile; else the only or the last one.")]


def list_agreements(profile: ProfileName = None) -> None:
    """Write the agency's agreements as JSON lines: phase, who signed, what is proposed, who keeps one suspended."""
    with _channel(profile) as (channel, _):
        for one in agreements.agreements(channel):
            _line(one)


@officer.command("new")
def new_officer(file: Annotated[Path, typer.Argument(help="Where to write the private key; nobody else may.")]) -> None:
    """Make an officer's key on their own machine, and print the public half to be registered at the hub."""
    _line(agreements.new_officer_key(file, new_key()))
    _tell(f"The private key is {file}: keep it. Its public key goes to the hub's operator.")


@app.command()
def show(
    code: Code,
    profile: ProfileName = None,
    as_json: Annotated[bool, typer.Option("--json", help="What the hub answers, whole.")] = False,
) -> None:
    """Say in words what is open for signature, or in force, checked on this side."""
    with _channel(profile) as (channel, agency):
        view = agreements.agreement(channel, code)
        terms = agreements.checked_terms(view, code, agency)
    if as_json:
        _line(view)
        return
    _say("\n".join(agreements.described(terms)))
    _say(agreements.visible(_standing(view)))


@app.command()
def sign(
    code: Code,
    key_file: Annotated[Path, typer.Option("--officer", help="The officer's private key, as `officer new` made it.")],
    profile: ProfileName = None,
    only_print: Annotated[bool, typer.Option("--print", help="Write the signature, and do not send it.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Sign without asking.")] = False,
) -> None:
    """Fetch the terms, check them here, show what would be signed, sign it, and send the signature."""
    key = agreements.read_officer_key(key_file)
    with _channel(profile) as (channel, agency):
        terms = agreements.checked_terms(agreements.agreement(channel, code), code, agency)
        _tell("\n".join(agreements.described(terms)))
        if not yes and not typer.confirm("Sign this?", err=True):
            _tell("Nothing was signed.")
            raise typer.Exit(1)
        jws = agreements.sign(terms, key)
        if only_print:
            _say(jws)
            return
        _line(agreements.send_signature(channel, code, jws))


@app.command()
def suspend(code: Code, profile: ProfileName = None) -> None:
    """Stop all releases under an agreement: when this returns, no hand-out under it commits any more."""
    _act(agreements.suspend, code, profile)


@app.command()
def resume(code: Code, profile: ProfileName = None) -> None:
    """Take this agency's own suspension back."""
    _act(agreements.resume, code, profile)


@app.command()
def end(
    code: Code,
    profile: ProfileName = None,
    yes: Annotated[bool, typer.Option("--yes", help="End it without asking.")] = False,
) -> None:
    """End an agreement for good. What comes after it is a new one, signed anew."""
    if not yes and not typer.confirm(f"End {code} for good?", err=True):
        _tell("Nothing was changed.")
        raise typer.Exit(1)
    _act(agreements.end, code, profile)


def _act(act: Callable[[Channel, str], Mapping[str, Any]], code: str, profile: str | None) -> None:
    with _channel(profile) as (channel, _):
        _line(act(channel, code))


def _standing(view: Mapping[str, Any]) -> str:
    which = "proposed" if "proposed" in view else "approved"
    signed = (
        ", ".join(f"{one['side']} ({one['name']}, {one['at']})" for one in view[which]["signatures"]) or "nobody yet"
    )
    by = ", ".join(str(one["by"]) for one in view["suspended_by"])
    return f"  phase {view['phase']}{f', suspended by {by}' if by else ''}; {which} terms signed by {signed}"


@contextmanager
def _channel(profile: str | None) -> Iterator[tuple[Channel, str]]:
    found, key = read_profile(directory_of(os.environ), profile)
    with HubClient(found.settings, key) as client:
        yield client.channel, found.agency


def _line(document: Mapping[str, Any]) -> None:
    _say(json.dumps(document, ensure_ascii=False))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _tell(text: str) -> None:
    sys.stderr.write(text + "\n")
