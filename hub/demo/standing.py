"""Test persons with known outcomes: play story 1 for one of them, beside a running demo."""

from hub.demo.country import Country

STANDING = {
    "TEST-GRANTED": "test-granted",
    "TEST-REFUSED": "test-refused",
    "TEST-EXPIRED": "test-expired",
    "TEST-UNLINKED": "test-unlinked",
}
STORIES = {"S1": ("test-account", "test-residence", "test-birth")}  # the birth last: `hub why --last` shows it


def publish_as(country: Country, story: str, standing: str) -> list[tuple[str, str]]:
    """Publish a story's events for a test person. Returns (dataset, state) per event: handled, or waiting for a link.

    An event whose publisher does not know the person is left out: the register can't report somebody it never met.
    """
    child = STANDING[standing]
    outcomes = []
    for name in STORIES[story]:
        happening = country.cast.happenings[name]
        about = child if happening.about == "child" else happening.about
        publisher = country.catalogue.datasets[happening.dataset].provider
        if publisher in country.cast.people[about].ids:
            outcomes.append((happening.dataset, country.publish(happening, child=child).state))
    return outcomes
