"""`hub-agency webhook` and `hub-agency seal-key`: how deliveries come to this agency without its asking."""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer

from agency_adapters.client import HubClient
from agency_adapters.errors import AgencyError, HubProblem
from agency_adapters.profile import directory_of, read_profile, seen_path
from agency_adapters.sealing import add_seal_key, new_seal_key, public_seal_jwk, read_seal_keys
from agency_adapters.seen import Seen
from agency_adapters.webhook import Receiver
from agency_adapters.webhook_server import server

REFRESH_S = 30.0  # between two looks at the hub's keys: messages that nobody signed must not make more
FIRST_S = 1.0  # the same, while there are none: the address is being registered
NOT_FOUND = 404

webhook = typer.Typer(no_args_is_help=True, help="The address that the hub posts deliveries to.")
seal_key = typer.Typer(no_args_is_help=True, help="The key that the hub seals payloads to.")
ProfileName = Annotated[str | None, typer.Option("--profile", help="Which profile; else the only or the last one.")]


@webhook.command("set")
def set_webhook(
    url: Annotated[str, typer.Argument(help="https://HOST/PATH; its receiver must be running, for it is proven now.")],
    profile: ProfileName = None,
) -> None:
    """Have deliveries posted to this address, once it has repeated the hub's challenge."""
    found, key = read_profile(directory_of(os.environ), profile)
    with HubClient(found.settings, key) as client:
        said = client.set_webhook(url)
        if said.get("state") not in ("active", "failing"):
            said = client.prove_webhook() if said.get("state") == "disabled" else said
    _line(said)
    if said.get("state") not in ("active", "failing"):
        raise AgencyError(
            f"the endpoint is not proven: {said.get('detail', 'it did not answer')}",
            remedy="Start `hub-agency webhook receive` behind this address, then set it again.",
        )


@webhook.command("show")
def show_webhook(profile: ProfileName = None) -> None:
    """Say how the endpoint is, and with which public keys the hub signs."""
    found, key = read_profile(directory_of(os.environ), profile)
    with HubClient(found.settings, key) as client:
        _line(client.webhook())


@webhook.command("remove")
def remove_webhook(profile: ProfileName = None) -> None:
    """Have nothing posted any more; deliveries can be pulled, as ever."""
    found, key = read_profile(directory_of(os.environ), profile)
    with HubClient(found.settings, key) as client:
        client.remove_webhook()
    sys.stderr.write("Removed. Deliveries wait for a pull.\n")


@webhook.command("receive")
def receive_webhook(
    profile: ProfileName = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8700,
    host: Annotated[str, typer.Option(help="Address to listen on; a TLS proxy stands in front.")] = "127.0.0.1",
) -> None:
    """Receive deliveries until Ctrl-C and write them as JSON lines. Each is taken once its line was flushed."""
    directory = directory_of(os.environ)
    found, key = read_profile(directory, profile)
    seal_keys = read_seal_keys(directory, found.name)
    with HubClient(found.settings, key) as client, Seen(seen_path(directory, found.name)) as seen:
        receiver = Receiver(hub_keys(client), seen, lambda delivery: _line(delivery.document), seal_keys)
        serving = server(receiver, host, port)
        sys.stderr.write(f"Listening on http://{host}:{serving.server_address[1]}/\n")
        sys.stderr.flush()
        try:
            serving.serve_forever()
        except KeyboardInterrupt:
            pass
        finally:
            serving.server_close()


def hub_keys(client: HubClient, monotonic_s: Callable[[], float] = time.monotonic) -> Callable[[bool], Sequence[str]]:
    """Make what gives the hub's keys: kept, and asked for anew at most every `REFRESH_S` where none fitted."""
    kept: list[str] = []
    asked_s = -REFRESH_S

    def keys(anew: bool) -> Sequence[str]:
        nonlocal asked_s
        if (anew or not kept) and monotonic_s() - asked_s >= (REFRESH_S if kept else FIRST_S):
            asked_s = monotonic_s()
            try:
                kept[:] = [str(each["public_key"]) for each in client.webhook().get("keys", ())]
            except HubProblem as problem:
                if problem.problem.status != NOT_FOUND:
                    raise
        return tuple(kept)

    return keys


@seal_key.command("new")
def new_key(profile: ProfileName = None) -> None:
    """Make a key and have payloads sealed to it from now on; former keys stay here, for what is on its way."""
    directory = directory_of(os.environ)
    found, key = read_profile(directory, profile)
    made = new_seal_key()
    add_seal_key(directory, found.name, made)
    with HubClient(found.settings, key) as client:
        _line(client.set_sealing_key(public_seal_jwk(made)))


@seal_key.command("show")
def show_key(profile: ProfileName = None) -> None:
    """Say which key payloads are sealed to, and whether it is here."""
    directory = directory_of(os.environ)
    found, key = read_profile(directory, profile)
    here = [each.thumbprint() for each in read_seal_keys(directory, found.name)]
    with HubClient(found.settings, key) as client:
        said = client.sealing_key()
    _line({**said, "here": said.get("kid") in here})


@seal_key.command("remove")
def remove_key(profile: ProfileName = None) -> None:
    """Have payloads sealed no more; the keys stay here, for what is on its way."""
    found, key = read_profile(directory_of(os.environ), profile)
    with HubClient(found.settings, key) as client:
        client.end_sealing_key()
    sys.stderr.write("Payloads are not sealed from now on.\n")


def _line(document: Mapping[str, Any]) -> None:
    """Write one JSON line and flush it: what follows may rely on its having left."""
    try:
        sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
        sys.stdout.flush()
    except OSError as error:
        what = f"standard output cannot be written: {error.strerror or type(error).__name__}"
        raise AgencyError(what, remedy="What was not written was not taken and comes again.") from error
