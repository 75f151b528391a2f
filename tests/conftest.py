"""What every test shares: how Hypothesis runs, on which engines, and how real ones end. Else it belongs elsewhere."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests import engines, exchange_engines, stores

# No deadline: two workers on a small machine make single examples slow without anything being wrong.
settings.register_profile("house", deadline=None, print_blob=True)
settings.load_profile("house")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test that is marked `engines` twice: on what is embedded, and on PostgreSQL. With `whole=True` a third
    time, with Kafka and OPA as well."""
    if marked := metafunc.definition.get_closest_marker("engines"):
        alone = metafunc.definition.get_closest_marker("embedded_only")
        more = [stores.REAL] + [stores.WHOLE] * bool(marked.kwargs.get("whole"))
        sets = [stores.EMBEDDED] if alone else [stores.EMBEDDED, *more]
        metafunc.parametrize("engine_set", sets, indirect=True, scope="module")


@pytest.fixture(scope="module", autouse=True)
def engine_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """Turn the engines that `tests/stores.py` gives out."""
    which: str = getattr(request, "param", stores.EMBEDDED)
    if which != stores.EMBEDDED:
        stores.server()
    if which == stores.WHOLE:
        engines.needs_kafka()
        engines.needs_opa()
    stores.use(which)
    yield which
    stores.use(stores.EMBEDDED)
    stores.drop_all()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End this process's engines; a worker hands over which tests used which."""
    exchange_engines.leave()
    stores.leave()
    engines.end_all()
    handed = getattr(session.config, "workeroutput", None)  # pytest-xdist's, in its workers only
    if handed is not None:
        handed["engines"] = {name: sorted(tests) for name, tests in engines.HAD.asked.items()}


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_testnodedown(node: object) -> None:
    """Take over what a worker has used."""
    for name, tests in getattr(node, "workeroutput", {}).get("engines", {}).items():
        engines.HAD.asked.setdefault(name, set()).update(tests)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which engines ran and what was skipped: a set that silently does not run is a defect."""
    told = [said for report in terminalreporter.stats.get("passed", ()) for said in report.user_properties]
    for said in sorted(
        str(text) for name, text in told if name == "fault"
    ):  # what was done, lost, and how long it took
        terminalreporter.write_line(said)
    reasons = [str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", ()) if report.longrepr]
    terminalreporter.write_line(engines.summary(engines.HAD.asked, [one for one in reasons if engines.NOT_HERE in one]))
