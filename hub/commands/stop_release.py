"""`hub stop-release`: stop every hand-out, now. The flag file stays until `--resume` takes it away."""

from typing import Annotated

import typer


def stop_release(
    resume: Annotated[bool, typer.Option("--resume", help="Let hand-outs commit again.")] = False,
) -> None:
    """Stop all releases. When this returns no hand-out commits any more; publishing goes on and nothing is lost."""
    from hub.app import STOP_FLAG
    from hub.commands.operator import ask, running, settings_now

    settings = settings_now()
    flag = settings.data_dir / STOP_FLAG
    if resume:
        flag.unlink(missing_ok=True)
    else:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        flag.touch(mode=0o600)  # first of all: it counts even where the hub does not answer
    client = running(settings)
    if client is not None:
        with client:
            ask(client, "POST", "/stop-release", {"stop": not resume})
    print("Releases go on." if resume else f"All releases are stopped. `hub stop-release --resume` removes {flag}.")
