"""The package's README says what the code does."""

import doctest
from pathlib import Path


def test_the_example_in_the_readme_works_as_written() -> None:
    readme = Path(__file__).parent.parent / "consent" / "README.md"
    result = doctest.testfile(str(readme), module_relative=False, encoding="utf-8")
    assert result.attempted > 10
    assert result.failed == 0
