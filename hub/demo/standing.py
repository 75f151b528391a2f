"""Test persons with known outcomes: play story 1 for one of them, beside a running demo."""

from hub.demo.country import Country

STANDING = {
    "TEST-GRANTED": "test-granted",
    "TEST-REFUSED": "test-refused",
    "TEST-EXPIRED": "test-expired",
    "TEST-UNLINKED": "test-unlinked",
    "TEST-WITHDRAWN": "test-withdrawn",
    "TEST-POISON": "test-poison",
}
STORIES = {"S1": ("test-account", "test-residence", "test-birth")}  # the birth last: `hub why --last` shows it

WITHDRAWN_FROM = ("lindum", "KINDER-PLACE")


def publish_as(country: Country, story: str, standing: str) -> list[tuple[str, str]]:
    """Publish a story's events for a test person. Returns (dataset, state) per event: handled, or waiting for a link.

    An event whose publisher does not know the person is left out: the register can't report somebody it never met.
    TEST-WITHDRAWN says yes, is published about, and takes it back before anybody can have acknowledged anything.
    """
    child = STANDING[standing]
    if standing == "TEST-POISON":
        country.poison(child)
    if standing != "TEST-WITHDRAWN":
        return _publish(country, story, child)
    with country.citizen("test-parent", on=child) as parent:
        parent.grant_unasked(*WITHDRAWN_FROM)
        outcomes = _publish(country, story, child)
        parent.withdraw(parent.consent_for(*WITHDRAWN_FROM)["consent"])
    return outcomes


def _publish(country: Country, story: str, child: str) -> list[tuple[str, str]]:
    outcomes = []
    for name in STORIES[story]:
        happening = country.cast.happenings[name]
        about = child if happening.about == "child" else happening.about
        publisher = country.catalogue.datasets[happening.dataset].provider
        if publisher in country.cast.people[about].ids:
            outcomes.append((happening.dataset, country.publish(happening, child=child).state))
    return outcomes
