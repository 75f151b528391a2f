"""Jinja2 as the pages use it: everything escaped, a name that is not there is an error, GOV.UK's macros at hand.

The macros come with an environment of their own: they look at parameters that were not given, which ours forbids.
"""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).resolve().parents[1] / "templates" / "portal"
LIBRARY = "govuk_frontend_jinja"
MACROS = {
    "govukBackLink": "back-link",
    "govukButton": "button",
    "govukCheckboxes": "checkboxes",
    "govukErrorSummary": "error-summary",
    "govukInput": "input",
    "govukInsetText": "inset-text",
    "govukNotificationBanner": "notification-banner",
    "govukPagination": "pagination",
    "govukRadios": "radios",
    "govukSelect": "select",
    "govukServiceNavigation": "service-navigation",
    "govukSkipLink": "skip-link",
    "govukSummaryList": "summary-list",
    "govukTag": "tag",
}


@cache
def _environment() -> "Environment":
    # Here: the first page loads it, not every start of a hub.
    from jinja2 import Environment, FileSystemLoader, PackageLoader, PrefixLoader, StrictUndefined

    macros = Environment(loader=PrefixLoader({LIBRARY: PackageLoader(LIBRARY)}), autoescape=True)
    pages = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, auto_reload=False,
    )  # fmt: skip
    for name, folder in MACROS.items():
        pages.globals[name] = getattr(macros.get_template(f"{LIBRARY}/components/{folder}/macro.html").module, name)
    return pages


def render(template: str, **context: Any) -> Markup:
    """Fill a template. Raises jinja2.UndefinedError where it names something that is not in `context`."""
    return Markup(_environment().get_template(template).render(**context))  # noqa: S704 - Jinja has escaped it
