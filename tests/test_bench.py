"""`hub bench`: the measurements themselves are not tested for speed, only for measuring what they say."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from hub.bench import registry_real
from hub.bench.engines import Engines, real_engines
from hub.bench.measure import Figure, Sizes, percentile
from hub.bench.registry import BENCHMARKS
from hub.bench.report import svg
from hub.commands.bench import NAMES, REAL_NAMES, bench
from hub.core.errors import HubError
from tests.engines import missing

TINY = ["--quick", "--people", "200", "--events", "200", "--rounds", "1"]


def _app() -> typer.Typer:
    app = typer.Typer()
    app.command()(bench)
    return app


@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_every_benchmark_runs_at_tiny_sizes_and_keeps_what_it_found(name: str, tmp_path: Path) -> None:
    """A benchmark that nobody runs rots; this runs each, and reads its JSON and SVG back."""
    out = tmp_path / "bench.json"
    done = CliRunner().invoke(_app(), [name, *TINY, "--out", str(out)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    kept = json.loads(out.read_text())
    assert kept["machine"]["cores"] >= 1
    assert kept["sizes"]["people"] == 200
    for figure in kept["results"][name]["figures"]:
        assert figure["median"] > 0
        assert figure["rounds"]
    assert out.with_suffix(".svg").read_text().startswith("<svg")


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    """PostgreSQL, Kafka and OPA for all of them, as one run of `hub bench` has."""
    try:
        with real_engines(tmp_path_factory.mktemp("engines")) as started:
            yield started
    except HubError as error:
        if error.code != "engines-missing":
            raise
        missing(f"{error.what} {error.remedy}")


@pytest.mark.parametrize("name", REAL_NAMES)
def test_every_benchmark_runs_small_over_real_engines(name: str, engines: Engines, tmp_path: Path) -> None:
    """It finds figures that can be: above nothing, and of as many rounds as there were."""
    sizes = Sizes(
        people=200, events=400, rounds=1, seconds=6.0, withdrawals=10, consents=(600, 1_200)
    )  # fmt: skip
    found = registry_real.BENCHMARKS[name](sizes, tmp_path / name, lambda _: None, engines)
    assert found.name == name
    for figure in found.figures:
        assert all(one > 0 for one in figure.rounds), figure
        assert figure.rounds
        if figure.unit == "times" and figure.goal is not None and not figure.lower_is_better:
            assert figure.value < 1_000


def test_a_run_over_real_engines_names_their_versions(tmp_path: Path, engines: Engines) -> None:
    """What was measured says on what: the figures of two versions are not compared by mistake."""
    assert engines.versions().keys() == {"postgresql", "kafka", "opa"}
    assert all(version[0].isdigit() for version in engines.versions().values())


def test_the_usual_design_that_the_gate_is_compared_with_shows_its_source() -> None:
    """A comparison is worth what its opponent is: the source can be read without looking for it."""
    done = CliRunner().invoke(_app(), ["--source"])
    assert "class UsualGate" in done.output
    assert "COMMIT" in done.output


def test_a_benchmark_that_is_not_there_is_refused_with_the_names_that_are() -> None:
    """A typo does not measure something else."""
    done = CliRunner().invoke(_app(), ["gaet"])
    assert done.exit_code == 2
    assert "gate" in done.output


def test_the_command_names_every_benchmark_that_there_is() -> None:
    """The names stand in the command's help without loading the benchmarks; they must be the same ones."""
    assert tuple(BENCHMARKS) == NAMES
    assert tuple(registry_real.BENCHMARKS) == REAL_NAMES


def test_a_percentile_is_a_value_that_was_measured() -> None:
    """p50 and p99 never lie between two measurements."""
    values = [float(one) for one in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile([7.0], 0.99)) == (50.0, 99.0, 7.0)


def test_a_bar_that_misses_its_goal_is_drawn_in_another_colour_than_one_that_reaches_it() -> None:
    """The picture says at a glance what fell short, for rates and for times."""
    missed = svg([Figure("rate", "events/s", (5.0,), 8.0), Figure("p99", "s", (2.0,), 1.0, lower_is_better=True)])
    reached = svg([Figure("rate", "events/s", (9.0,), 8.0), Figure("p99", "s", (0.5,), 1.0, lower_is_better=True)])
    assert "#2b7a4b" not in missed
    assert "#b3541e" not in reached
