"""What commands write: JSON lines to standard output, words for people to standard error."""

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from agency_adapters.errors import AgencyError


def line(document: Mapping[str, Any]) -> None:
    """Write one JSON line and flush it: what follows may rely on its having left."""
    try:
        sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python tries once more at its exit
        what = f"standard output cannot be written: {error.strerror or type(error).__name__}"
        raise AgencyError(what, remedy="What was not written was not acknowledged and comes again.") from error


def tell(text: str) -> None:
    """Write a line for a person."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
