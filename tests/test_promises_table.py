"""The table of promises tells what ran where, and never makes a test that did not run look like one that passed."""

from deploy.promises import ROOT, SETS, failed, read, set_of, table
from tests import stores

REPORT = """<testsuites><testsuite>
<testcase classname="tests.test_promise_6_order" name="test_one[sqlite]"/>
<testcase classname="tests.test_promise_6_order" name="test_one[postgres]"><failure message="no"/></testcase>
<testcase classname="tests.test_promise_6_order" name="test_one[postgres+kafka+opa]"><skipped/></testcase>
<testcase classname="tests.test_promise_6_order" name="test_two[sqlite-with look-back]"/>
<testcase classname="tests.test_promise_6_order" name="test_two[sqlite-without]"/>
<testcase classname="tests.test_port_policy" name="test_three[embedded]"/>
<testcase classname="tests.test_port_policy" name="test_three[server]"><error message="no"/></testcase>
<testcase classname="tests.test_holds" name="test_four[sqlite]"/>
<testcase classname="tests.test_holds" name="test_four[postgres]"/>
<testcase classname="tests.test_settings" name="test_five"/>
</testsuite></testsuites>"""


def cells(line: str) -> list[str]:
    return [word for word in line.split("  ") if word.strip()][1:]


def test_each_test_stands_beside_how_it_did_on_each_set() -> None:
    """Passed, failed, skipped, and where it did not run at all; a file that ran on one set only is left out."""
    written = "\n".join(table(read(REPORT))).splitlines()
    lines = {line.split("  ")[1] if line.startswith("  ") else line: line for line in written}
    assert [one.strip() for one in cells(lines["one"])] == ["passed", "FAILED", "skipped"]
    assert [one.strip() for one in cells(lines["two"])] == ["passed 2", "-", "-"]
    assert [one.strip() for one in cells(lines["three"])] == ["passed", "-", "FAILED"]
    assert [one.strip() for one in cells(lines["test_holds.py"])] == ["passed", "passed", "-"]
    assert not any("settings" in line for line in lines)
    assert any(line.startswith("Promise 6: in order") for line in lines)


def test_what_failed_anywhere_is_counted() -> None:
    """An error while setting up counts as a failure; what was skipped does not."""
    assert failed(read(REPORT)) == 2


def test_the_sets_are_those_that_tests_run_on() -> None:
    """Another name there would put everything under SQLite."""
    assert list(SETS) == [stores.EMBEDDED, stores.REAL, stores.WHOLE]
    assert [set_of(f"gate.begun-{one}") for one in SETS] == list(SETS)
    assert (ROOT / "tests" / "stores.py").exists()
