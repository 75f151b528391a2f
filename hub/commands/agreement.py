"""`hub agreement`: propose, show, compare, sign, suspend, resume and end agreements, as the hub's operator."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hub.core.agreement import Catalogue
    from hub.exchange.agreements import AgreementDesk

app = typer.Typer(no_args_is_help=True, help="Agreements: who signed what, and what is in force.")
Code = Annotated[str, typer.Argument(help="The agreement's code, like AGR-12.")]


@app.command("list")
def list_them(as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> None:
    """List every agreement: phase, version, who has not signed, who keeps it suspended."""
    import orjson
    from rich.console import Console
    from rich.table import Table

    from hub.exchange.agreement_views import agreements_of

    found = at_hub("GET", "/agreements", None, lambda desk: {"agreements": agreements_of(desk)})
    if as_json:
        print(orjson.dumps(found).decode())
        return
    table = Table("agreement", "between", "phase", "waits for")
    for one in found["agreements"]:
        approved, proposed = one.get("approved"), one.get("proposed")
        waits = (
            [f"v{proposed['version']}, proposed: {', '.join(proposed['missing']) or 'to be applied'}"]
            if proposed
            else []
        )
        waits += [f"v{approved['version']}: {', '.join(approved['missing'])}"] if one["phase"] == "unsigned" else []
        waits += [f"{by['by']} to resume" for by in one["suspended_by"]]
        version = f" v{approved['version']}" if approved else ""
        table.add_row(one["code"] + version, f"{one['provider']} > {one['recipient']}", one["phase"], "; ".join(waits))
    Console().print(table)


@app.command()
def propose(
    what: Annotated[list[str] | None, typer.Argument(help="Codes, or files agreements/CODE.yaml.")] = None,
    catalogue: Annotated[Path | None, typer.Option(help="The catalogue's folder; else the file's, or ours.")] = None,
    changed: Annotated[bool, typer.Option("--changed", help="All whose terms are not those in force.")] = False,
) -> None:
    """Check the catalogue's files and open agreements for signature. What is in force stays so meanwhile."""
    from hub import catalogue_files
    from hub.core.catalogue import to_document
    from hub.engines import CATALOGUE
    from hub.exchange.agreements import propose as propose_here

    files = [Path(one) for one in what or () if one.endswith(".yaml")]
    directory = catalogue or (files[0].resolve().parents[1] if files else CATALOGUE)
    proposed = catalogue_files.load(directory)
    codes = [Path(one).stem if one.endswith(".yaml") else one for one in what or ()]
    if changed:
        codes += [code for code in _other_terms(proposed) if code not in codes]
    if not codes:
        print("Nothing to propose: name an agreement, or change one and say --changed.", file=sys.stderr)
        raise typer.Exit(1)
    sent = {"document": to_document(proposed), "codes": codes}
    done = at_hub("POST", "/agreements/proposals", sent, lambda desk: {"proposed": propose_here(desk, proposed, codes)})
    for one in done["proposed"]:
        print(f"{one['code']} v{one['version']} is open for signature by both sides. Digest {one['digest']}")


@app.command()
def render(
    code: Code,
    html: Annotated[bool, typer.Option("--html", help="One HTML document, to be printed or filed.")] = False,
    approved: Annotated[
        bool, typer.Option("--approved", help="What is approved, where a newer one is proposed.")
    ] = False,
) -> None:
    """Write the agreement as a page: who, what, why, law, how long, what not, whom to call, signatures."""
    from hub.core.agreement_page import as_html, as_text

    view = _view(code)
    which = "proposed" if "proposed" in view and not (approved and "approved" in view) else "approved"
    print(as_html(view, which) if html else as_text(view, which), end="")


@app.command()
def diff(code: Code) -> None:
    """Say in words what the proposed version would change: widened, narrowed, new, changed."""
    from hub.commands.catalogue import show
    from hub.core.agreement_digest import catalogue_of
    from hub.core.catalogue import difference, from_document

    documents = _view(code)["documents"]
    if "proposed" not in documents:
        print(f"Nothing is proposed for {code} besides what is approved.")
        return
    nothing: dict[str, Any] = {"terms": {"agreement": None, "purposes": {}}, "datasets": {}}
    before, after = (
        from_document(catalogue_of(one["terms"], one["datasets"]))
        for one in (documents.get("approved", nothing), documents["proposed"])
    )
    show(difference(before, after))


@app.command()
def sign(
    code: Code,
    jws: Annotated[Path, typer.Option(help="The officer's signature, the one line of `hub-agency agreement sign`.")],
) -> None:
    """Take an officer's signature that came by another way than the API."""
    from hub.core.errors import HubError, Kind
    from hub.exchange.agreements import sign as sign_here

    try:
        text = jws.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as cause:
        remedy = "Name the file with the one line that the officer's tool made."
        raise HubError(
            Kind.INVALID,
            "the signature's file cannot be read",
            where=str(jws),
            remedy=remedy,
            code="signature-malformed",
        ) from cause
    done = at_hub(
        "POST",
        f"/agreements/{_safe(code)}/signatures",
        {"jws": text},
        lambda desk: sign_here(desk, code, text)._asdict(),
    )
    print(f"Signed for the {done['side']}: {code} v{done['version']}, {done['phase'].replace('_', ' ')}.")


@app.command()
def suspend(code: Code) -> None:
    """Stop all releases under an agreement. When this returns no hand-out under it commits any more."""
    _move(code, "suspend")


@app.command()
def resume(code: Code) -> None:
    """Take the operator's own suspension back; one that a side made is that side's."""
    _move(code, "resume")


@app.command()
def end(code: Code, yes: Annotated[bool, typer.Option("--yes", help="End it without asking.")] = False) -> None:
    """End an agreement for good. What comes after it is a new one, signed anew."""
    if yes or typer.confirm(f"End {code} for good?"):
        _move(code, "end")
    else:
        print("Nothing was changed.")


def at_hub(method: str, path: str, body: Any, here: Callable[["AgreementDesk"], Any]) -> Any:
    """Ask the running hub; where none runs, do the same on its store."""
    from hub.commands.operator import ask, opened, running, settings_now

    settings = settings_now()
    client = running(settings)
    if client is not None:
        with client:
            return ask(client, method, path, body)
    with opened(settings) as hub:
        return here(hub.agreements)


def _move(code: str, act: str) -> None:
    from hub.exchange.agreements import move

    done = at_hub("POST", f"/agreements/{_safe(code)}/{act}", None, lambda desk: move(desk, code, act))
    print(f"{code} is {done['phase'].replace('_', ' ')}.")


def _view(code: str) -> dict[str, Any]:
    from hub.exchange.agreement_views import agreement_of

    found: dict[str, Any] = at_hub("GET", f"/agreements/{_safe(code)}", None, lambda desk: agreement_of(desk, code))
    return found


def _safe(code: str) -> str:
    from urllib.parse import quote

    return quote(code, safe="")


def _other_terms(proposed: "Catalogue") -> list[str]:
    """Name the agreements of a catalogue whose terms are neither in force nor proposed last."""
    from hub.core.agreement_digest import terms_of
    from hub.core.catalogue import to_document
    from hub.exchange.agreement_views import agreements_of

    found = at_hub("GET", "/agreements", None, lambda desk: {"agreements": agreements_of(desk)})
    known = {one[which]["digest"] for one in found["agreements"] for which in ("approved", "proposed") if which in one}
    document = to_document(proposed)
    return [code for code in document["agreements"] if terms_of(document, code).digest not in known]
