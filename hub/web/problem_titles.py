"""Every problem's code and title. The code is the last part of the problem's `type`; once published it never changes.

A test finds a code that is raised somewhere and missing here.
"""

from types import MappingProxyType

TITLES = MappingProxyType(
    {
        # one per kind, used where nothing finer is said
        "malformed": "The request cannot be read",
        "invalid": "The content is refused",
        "unauthenticated": "Not signed in",
        "forbidden": "Not permitted",
        "not-found": "Nothing here",
        "conflict": "In conflict with what is already there",
        "gone": "No longer there",
        "too-large": "Too large",
        "too-many": "Too many requests",
        "unavailable": "Part of the hub is down; nothing was lost",
        "startup": "The hub refuses to start",
        # any request
        "json-malformed": "The body is not JSON",
        "request-form": "The request does not have the form wanted here",
        "form-malformed": "The form cannot be read",
        "method-not-allowed": "This address does not take this method",
        "media-type-unsupported": "This media type is not taken here",
        "http-refused": "The request is refused",
        "unexpected": "The hub failed unexpectedly",
        # agencies sign in
        "assertion-missing": "The token request has no client assertion",
        "assertion-malformed": "The client assertion cannot be read",
        "assertion-unverified": "The client assertion is not signed by a registered key",
        "assertion-audience": "The client assertion is for somebody else",
        "assertion-early": "The client assertion is from the future: a clock is off",
        "assertion-expired": "The client assertion has expired",
        "assertion-replayed": "The client assertion was used before",
        "grant-type-unsupported": "This grant type is not supported",
        "scope-unknown": "A requested scope does not exist",
        "scope-not-held": "The agency holds none of the requested scopes",
        "token-missing": "An access token is needed",
        "token-invalid": "The access token is not valid",
        "token-expired": "The access token has expired",
        "scope-missing": "The access token lacks the scope",
        "key-refused": "The public key is refused",
        "issuer-unusable": "The issuer cannot be used",
        # quotas and the local store
        "quota-used-up": "The agency's quota is used up",
        "batch-above-quota": "More at once than the agency may ever send",
        "local-store-down": "The hub's local store is down; nothing was changed",
        "local-store-unusable": "The hub's local store cannot be opened",
        # events and their way
        "event-unknown": "There is no such event status",
        "event-malformed": "This is not a CloudEvent of the publisher's",
        "event-schema": "The data does not fit the dataset's schema",
        "event-time": "The event's time is too far back or ahead",
        "event-too-large": "The event is too large",
        "dataset-unknown": "No such dataset is the agency's to publish",
        "dataset-version": "No such version of the dataset is approved",
        "delivery-unknown": "No such delivery was handed out to the agency",
        "releases-stopped": "The operator has stopped all releases; nothing is lost",
        "queue-changed": "The queue changed meanwhile",
        # links between local ids and persons
        "agency-unknown": "There is no such agency",
        "link-unknown": "There is no such link",
        "link-conflict": "The local id is linked already",
        "person-erased": "The person was erased",
        # engines
        "stopping": "The hub is stopping; try again in a moment",
        "store-unavailable": "The store is down; nothing was changed",
        "policy-unavailable": "The policy engine is down; nothing was decided or lost",
        # refusing to start
        "settings": "The settings cannot be used",
        "store-in-use": "Another hub runs on this store",
        "key-file-missing": "The key file cannot be read",
        "key-file-open": "The key file can be read by others",
        "key-file-broken": "The key file does not hold a key",
        "policy-stale": "The compiled policy is not the one of its sources",
        "policy-unreadable": "The compiled policy cannot be read",
        "policy-unloadable": "The compiled policy cannot be loaded",
        # the catalogue
        "catalogue-invalid": "The catalogue has errors",
        "catalogue-unreadable": "The stored catalogue cannot be read",
        "version-rewritten": "An approved version cannot be changed",
    }
)
