"""Agreements from proposal to force to suspension, as the operator's and the officers' own commands."""

import json
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from agency_adapters.__main__ import app as agency_app
from agency_adapters.errors import AgencyError
from hub.__main__ import app as hub_app
from hub.core.errors import HubError
from hub.engines import CATALOGUE
from tests.test_serve import START_S, environment

Run = Callable[..., "Ran"]


class Ran(NamedTuple):
    """What a command did: its exit code, and what it said."""

    returncode: int
    stdout: str
    stderr: str


CODE = "AGR-3"  # of the civil registry with Lindum


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run `hub` or `hub-agency` with directories of its own, in this process: a new one for each takes a second."""
    environ = {**environment(tmp_path / "data"), "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}

    def ran(program: str, *words: str, said: str = "") -> Ran:
        app = {"hub": hub_app, "hub-agency": agency_app}[program]
        result = CliRunner().invoke(app, words, input=said, env=environ)
        told = result.stderr
        if isinstance(result.exception, HubError | AgencyError):  # which `main` puts into words
            told += f"{result.exception.what} {result.exception.remedy}"
        elif not isinstance(result.exception, SystemExit | None):
            raise result.exception
        return Ran(result.exit_code, result.stdout, told)

    return ran


@contextmanager
def served(directory: Path) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "hub", "serve"], env=environment(directory / "data"), cwd=directory,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line
        yield found[0]
    finally:
        process.terminate()
        process.communicate(timeout=START_S)


def amended(directory: Path) -> Path:
    """Copy the shipped catalogue, with a second version of one agreement; returns the agreement's file."""
    shutil.copytree(CATALOGUE, directory / "catalogue")
    file = directory / "catalogue" / "agreements" / f"{CODE}.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("version: 1", "version: 2").replace("look_back_days: 0", "look_back_days: 30"))
    return file


def listed(run: Run) -> dict[str, Any]:
    found = json.loads(run("hub", "agreement", "list", "--json").stdout)["agreements"]
    (one,) = [one for one in found if one["code"] == CODE]
    assert isinstance(one, dict)
    return one


def well(ran: Ran) -> str:
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return str(ran.stdout)


def test_an_agreement_from_proposal_to_force_to_suspension(run: Run, tmp_path: Path) -> None:
    """Proposed, compared, signed by both sides' officers, applied, suspended by one, resumed by it alone."""
    file = amended(tmp_path)
    with served(tmp_path) as address:
        assert f"{CODE} v2 is open for signature" in well(run("hub", "agreement", "propose", str(file)))
        assert "look_back_days: 0 -> 30" in well(run("hub", "agreement", "diff", CODE))
        early = run("hub", "catalogue", "apply", str(file.parents[1]), said="n")
        assert "nothing is released under them" in early.stdout
        for agency in ("lindum", "civil-registry"):
            well(run("hub-agency", "init", agency, "--hub", address, "--demo"))
        sign_at_their_own_machine(run, tmp_path)
        sign_on_paper_so_to_speak(run, tmp_path)
        applied = well(run("hub", "catalogue", "apply", str(file.parents[1]), "--yes"))
        assert "Waiting for signatures" not in applied
        assert (listed(run)["phase"], listed(run)["approved"]["version"]) == ("in_force", 2)
        page = well(run("hub", "agreement", "render", CODE, "--html"))
        assert page.startswith("<!doctype html>")
        assert "Ada Example, Registrar" in page

        # either side stops it; whoever stopped it lets it go on
        suspended = well(run("hub-agency", "agreement", "suspend", CODE, "--profile", "lindum"))
        assert json.loads(suspended)["phase"] == "suspended"
        refused = run("hub", "agreement", "resume", CODE)
        assert (refused.returncode, "who alone can resume it" in refused.stderr) == (1, True)
        shown = well(run("hub-agency", "agreement", "show", CODE, "--profile", "civil-registry"))
        assert "phase suspended, suspended by lindum" in shown
        resumed = well(run("hub-agency", "agreement", "resume", CODE, "--profile", "lindum"))
        assert json.loads(resumed)["phase"] == "in_force"
        lines = well(run("hub-agency", "agreements", "--profile", "civil-registry")).splitlines()
        (mine,) = [one for one in map(json.loads, lines) if one["code"] == CODE]
        assert [one["name"] for one in mine["approved"]["signatures"]] == ["Invented Officer", "Ada Example"]


def sign_at_their_own_machine(run: Run, directory: Path) -> None:
    """Make an officer's key, have it registered, read the terms, decline once, sign."""
    key, jwk = directory / "ada.key", directory / "ada.jwk"
    jwk.write_text(well(run("hub-agency", "officer", "new", str(key))))
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert '"d"' not in jwk.read_text()
    again = run("hub-agency", "officer", "new", str(key))
    assert (again.returncode, "is there already" in again.stderr) == (1, True)
    officer = ("--name", "Ada Example", "--office", "Registrar", "--jwk", str(jwk))
    assert "Ada Example signs for lindum" in well(run("hub", "officer", "add", "lindum", *officer))
    kid = json.loads(jwk.read_text())["kid"]
    assert kid in well(run("hub", "officer", "list")), "whole: `hub officer end` takes it from there"
    sign = ("hub-agency", "agreement", "sign", CODE, "--profile", "lindum", "--officer", str(key))
    declined = run(*sign, said="n")
    assert declined.returncode == 1
    assert "never: child_id, dob" in declined.stderr
    assert json.loads(well(run(*sign, "--yes")))["phase"] == "proposed"
    assert listed(run)["proposed"]["missing"] == ["provider"]


def sign_on_paper_so_to_speak(run: Run, directory: Path) -> None:
    """Print the other side's signature there, and carry it to the operator; it counts once."""
    key, jws = directory / "data" / "officers" / "civil-registry.key", directory / "other.jws"
    sign = ("hub-agency", "agreement", "sign", CODE, "--profile", "civil-registry", "--officer", str(key))
    jws.write_text(well(run(*sign, "--yes", "--print")))
    assert "Signed for the provider" in well(run("hub", "agreement", "sign", CODE, "--jws", str(jws)))
    twice = run("hub", "agreement", "sign", CODE, "--jws", str(jws))
    assert (twice.returncode, "has signed AGR-3 v2 already" in twice.stderr) == (1, True)


def test_without_a_running_hub_the_commands_work_on_its_store(run: Run, tmp_path: Path) -> None:
    """What was suspended while none ran is suspended when it starts; an end asks first; bad words are exit code 1."""
    with served(tmp_path):
        pass
    assert "AGR-3 is suspended." in well(run("hub", "agreement", "suspend", CODE))
    assert [one["by"] for one in listed(run)["suspended_by"]] == ["operator"]
    assert "Nothing was changed." in well(run("hub", "agreement", "end", CODE, said="n"))
    assert "lindum is suspended" in well(run("hub", "agency", "suspend", "lindum"))
    assert "lindum takes part again" in well(run("hub", "agency", "resume", "lindum"))
    (kid,) = [
        one["kid"]
        for one in json.loads(well(run("hub", "officer", "list", "--json")))["officers"]
        if one["agency"] == "lindum"
    ]
    assert "signs nothing any more" in well(run("hub", "officer", "end", "lindum", kid))
    assert "Agreement AGR-3, version 1" in well(run("hub", "agreement", "render", CODE))
    assert "AGR-3 is ended." in well(run("hub", "agreement", "end", CODE, "--yes"))
    bad = tmp_path / "bad.jws"
    bad.write_text("garbage")
    for words, said in (
        (("agreement", "sign", CODE, "--jws", str(bad)), "HEADER..SIGNATURE"),
        (("agreement", "sign", CODE, "--jws", "absent.jws"), "cannot be read"),
        (("agreement", "suspend", "AGR-99"), "no such agreement"),
        (("agreement", "propose", "AGR-99"), "no agreement AGR-99"),
        (("agreement", "propose"), "Nothing to propose"),
        (("officer", "end", "lindum", kid), "still counts"),
    ):
        refused = run("hub", *words)
        assert (refused.returncode, said in refused.stderr) == (1, True), (words, refused.stderr)
