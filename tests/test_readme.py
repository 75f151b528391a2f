"""The pages tell the truth: their blocks run, every setting and every command is on them."""

import contextlib
import importlib
import importlib.util
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import orjson
import pytest

from hub.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
PAGES = [ROOT / name for name in ("README.md", "deploy/README.md", "CONTRIBUTING.md", "SECURITY.md")]
BLOCK = re.compile(r"^```(\S+) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
STARTED_WITHIN_S = 60


class Block(NamedTuple):
    """A fenced block: ```` ```sh run ```` runs as it is, `demo` beside a running hub, `shown` is read only."""

    page: str
    language: str
    how: str
    text: str


def blocks() -> list[Block]:
    return [
        Block(page.relative_to(ROOT).as_posix(), *match.groups())
        for page in PAGES
        if page.is_file()
        for match in BLOCK.finditer(page.read_text(encoding="utf-8"))
    ]


def test_every_block_says_whether_it_runs() -> None:
    """A block of sh or python is run by a test unless it says `shown`: nothing is left unmarked by mistake."""
    loose = [block for block in blocks() if block.language in ("sh", "python", "bash", "shell", "console")]
    assert [block for block in loose if block.how not in ("run", "demo", "shown")] == []


@pytest.mark.parametrize("block", [block for block in blocks() if block.how == "run"], ids=lambda block: block.page)
def test_a_block_that_is_marked_to_run_runs(block: Block) -> None:
    """As it stands on the page, in the checkout, with the installed commands on the path."""
    command = {"python": [sys.executable, "-c"], "sh": ["bash", "-euo", "pipefail", "-c"]}[block.language]
    env = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    ran = subprocess.run(
        [*command, block.text], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def row(name: str) -> str:
    """The line that deploy/README.md has for a setting: variable, default, reason."""
    field = Settings.model_fields[name]
    default = ",".join(field.default) if isinstance(field.default, tuple) else str(field.default)
    shown = {"None": "unset", "": "empty", "True": "true", "False": "false"}.get(default, default)
    return f"| `{PREFIX}{name.upper()}` | `{shown}` | {field.description} |"


def test_every_setting_is_on_the_operators_page() -> None:
    """With its default and its reason, word for word: paste the missing rows into deploy/README.md."""
    page = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8").splitlines()
    missing = [row(name) for name in Settings.model_fields if row(name) not in page]
    assert missing == [], "\n".join(["", *missing])
    known = {row(name) for name in Settings.model_fields}
    assert [line for line in page if line.startswith(f"| `{PREFIX}") and line not in known] == []


def test_every_setting_is_read_by_something() -> None:
    """A knob that turns nothing is a lie to the operator."""
    code = "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "hub").rglob("*.py") if path.name != "settings.py"
    )
    read_through = {
        "key_file": "key_path",
        "admin_socket": "admin_path",
        "store_dsn": "store_path",
        "shared_dir": "flag_dir",
        "store_password_file": "store_password",
        "only": "parts",
        "sign_in_acr": "assurance_of",
    }
    unread = [name for name in Settings.model_fields if not re.search(rf"\.{read_through.get(name, name)}\b", code)]
    assert unread == []


def commands(module: str, program: str) -> Iterator[str]:
    """Yield every command of a typer app as one types it: `hub catalogue check`."""
    typer_main = importlib.import_module("typer.main")
    top = typer_main.get_command(importlib.import_module(module).app)

    def walk(command: object, path: str) -> Iterator[str]:
        below = getattr(command, "commands", None)
        if not below:
            yield path
        for name, child in (below or {}).items():
            yield from walk(child, f"{path} {name}")

    return walk(top, program)


@pytest.mark.parametrize(("module", "program"), [("hub.__main__", "hub"), ("agency_adapters.__main__", "hub-agency")])
def test_every_command_is_on_a_page(module: str, program: str) -> None:
    """Whoever adds a command says on a page what it is for."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not there yet")
    pages = [*PAGES, ROOT / "agency_adapters" / "README.md"]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages if page.is_file())
    assert [command for command in commands(module, program) if not re.search(rf"{command}\b", text)] == []


class Demo(NamedTuple):
    """A running `hub demo`, and what a second terminal beside it has in its environment."""

    address: str
    env: dict[str, str]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """Start `hub demo` at a terminal of its own, as `make demo` does; stop it with Ctrl-C afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    env = clean | {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "HUB_PORT": str(port),
        "HUB_ISSUER": address,
        "HUB_DATA_DIR": str(tmp_path / "hub"),
    }
    ours, theirs = pty.openpty()
    told: list[bytes] = []
    reader = threading.Thread(target=keep_reading, args=(ours, told))
    with (tmp_path / "demo.log").open("wb") as log:
        process = subprocess.Popen(["hub", "demo"], cwd=tmp_path, env=env, stdin=theirs, stdout=theirs, stderr=log)
        os.close(theirs)
        reader.start()
        try:
            wait_until_ready(process, told, address)
            yield Demo(address, env)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=20)
            reader.join(timeout=5)
            os.close(ours)


def keep_reading(terminal: int, told: list[bytes]) -> None:
    """Collect what is written to a terminal until the program at its other end is gone."""
    with contextlib.suppress(OSError):  # EIO: how Linux says that the other end has closed
        while part := os.read(terminal, 65_536):
            told.append(part)


def wait_until_ready(process: subprocess.Popen[bytes], told: list[bytes], address: str) -> None:
    """Wait until the stories are over (it says how to stop) and the hub answers that it is ready."""
    deadline = time.monotonic() + STARTED_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        if b"Ctrl-C" in b"".join(told) and httpx.get(f"{address}/readyz").status_code == 200:
            return
        time.sleep(0.1)
    raise AssertionError(f"not ready within {STARTED_WITHIN_S} s: {b''.join(told).decode(errors='replace')}")


def test_the_first_ten_minutes_work_as_written(demo: Demo) -> None:
    """Line by line from README.md beside a running demo: two deliveries of one field each, then nothing, then why."""
    (block,) = [block for block in blocks() if block.how == "demo"]
    lines = [line.split("  #")[0].strip() for line in block.text.splitlines()]
    assert lines[0] == "make demo"
    said = {}
    for line in lines[1:]:
        command = line.replace("http://127.0.0.1:8000", demo.address)
        ran = subprocess.run(
            ["bash", "-euc", command], cwd=ROOT, env=demo.env, capture_output=True, text=True, timeout=60, check=False
        )
        assert ran.returncode == 0, f"{line}\n{ran.stdout}{ran.stderr}"
        said[line] = ran.stdout
    assert "PASS" in said["hub-agency doctor"]
    assert "FAIL" not in said["hub-agency doctor"]
    deliveries = [orjson.loads(line) for line in said["hub-agency pull"].splitlines()]
    assert [len(delivery["data"]) for delivery in deliveries] == [1, 1]
    assert "specversion" not in said[lines[-2]]
    assert "The person was asked and said no." in said[lines[-1]]
