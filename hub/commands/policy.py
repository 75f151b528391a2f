"""`hub policy`: what an OPA server is given. Both work beside a running hub or without one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hub.core.errors import HubError, Kind

if TYPE_CHECKING:
    from hub.ports import Bundle

POLLING_S = (1, 3)  # least and longest pause between two looks of OPA: how long events wait after a new catalogue

app = typer.Typer(no_args_is_help=True, help="The policy, as an OPA server takes it.")


@app.command()
def bundle(out: Annotated[Path, typer.Option(help="The file to write; one that is there is replaced.")]) -> None:
    """Write the signed bundle of policy and catalogue in force: what OPA else fetches by itself."""
    made = _bundle()
    try:
        out.write_bytes(made.content)
    except OSError as cause:
        raise HubError(
            Kind.STARTUP,
            f"the bundle cannot be written ({cause.strerror})",
            where=str(out),
            remedy="Name a file in a folder that you may write to.",
            code="bundle-unwritable",
        ) from cause
    print(f"{out} holds revision {made.revision}, signed with the key {made.kid} ({made.algorithm}).")


@app.command("opa-config")
def opa_config(
    hub: Annotated[str, typer.Option(help="The hub's address as OPA reaches it; else HUB_ISSUER.")] = "",
    token_file: Annotated[
        Path, typer.Option(help="Where OPA finds the word that HUB_OPA_BUNDLE_TOKEN_FILE holds.")
    ] = Path("/etc/opa/bundle.token"),
) -> None:
    """Print OPA's configuration: where the bundle is fetched, and the public key that verifies its signature."""
    from hub.commands.operator import settings_now

    print(configuration(_bundle(), hub or settings_now().issuer, token_file), end="")


def configuration(made: "Bundle", hub: str, token_file: Path) -> str:
    """Write OPA's configuration as YAML."""
    key = "".join(f"      {line}\n" for line in made.pem.splitlines())
    return f"""\
services:
  hub:
    url: {hub}
    credentials:
      bearer:
        token_path: {token_file}
bundles:
  hub:
    service: hub
    resource: /opa/bundle.tar.gz
    polling: {{min_delay_seconds: {POLLING_S[0]}, max_delay_seconds: {POLLING_S[1]}}}
    signing: {{keyid: "{made.kid}"}}
keys:
  "{made.kid}":
    algorithm: {made.algorithm}
    key: |
{key}"""


def _bundle() -> "Bundle":
    from hub.commands.operator import ask, opened, running, settings_now
    from hub.ports import Bundle

    settings = settings_now()
    client = running(settings)
    if client is None:
        with opened(settings) as hub:
            return hub.policy_bundle()
    with client:
        content = client.get("/opa/bundle.tar.gz").raise_for_status().content
        return Bundle(**ask(client, "GET", "/opa/key"), content=content)
