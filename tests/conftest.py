"""What every test shares: how Hypothesis runs, how real engines end. Else it belongs to the file that needs it."""

import pytest
from hypothesis import settings

from tests import engines

# No deadline: two workers on a small machine make single examples slow without anything being wrong.
settings.register_profile("house", deadline=None, print_blob=True)
settings.load_profile("house")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End this process's engines; a worker hands over which tests used which."""
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
    reasons = [str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", ()) if report.longrepr]
    terminalreporter.write_line(engines.summary(engines.HAD.asked, [one for one in reasons if engines.NOT_HERE in one]))
