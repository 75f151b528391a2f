"""Why a database lets nobody in, in words from a closed set: its own text names host, user and database."""

import psycopg

from hub.core.errors import HubError
from hub.store.engine import unavailable

DSN = "HUB_STORE_DSN"
ANSWERS_LATER = f"Start the database, or correct host and port in {DSN}; the hub tries again by itself."
NOT_LET_IN = (
    f"Correct the user in {DSN} and the password in HUB_STORE_PASSWORD_FILE, or grant the role at the database."
)

# What libpq, the resolver or the server writes -> why, and what to do. The first that fits counts: texts of several
# addresses of one host come together.
REASONS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("password authentication failed", "no password supplied", "SCRAM"), "it refuses the hub's password", NOT_LET_IN),
    (('role "', "permission denied"), "it does not know the hub's user, or does not let it in", NOT_LET_IN),
    (("no pg_hba.conf entry",), "it lets this machine or user in by no rule", "Add a line for the hub to pg_hba.conf."),
    (('database "',), "it has no such database", f"Make it, or correct its name in {DSN}."),
    (
        ("starting up", "shutting down", "not yet accepting", "recovery"),
        "it is starting or stopping",
        "Wait a moment; the hub tries again by itself.",
    ),
    (
        ("too many clients", "connection slots", "too many connections"),
        "it has no connection left",
        "Raise max_connections there, or lower HUB_STORE_CONNECTIONS_MAX.",
    ),
    (
        ("certificate", "SSL", "TLS"),
        "TLS with it fails",
        f"See its certificate, and sslmode and sslrootcert in {DSN}.",
    ),
    (
        ("resolve host", "translate host name"),
        "the name of its host is not known",
        f"Correct the host in {DSN}, or the name service of this machine.",
    ),
    (("Connection refused",), "nobody listens at its address", ANSWERS_LATER),
    (
        ("timeout", "timed out", "No route to host", "unreachable"),
        "nothing comes back from its address",
        f"See the network and its firewalls, and the host in {DSN}; the hub tries again by itself.",
    ),
    (("invalid", "missing", "when looking for"), "its DSN cannot be read", f"Correct {DSN}."),
)
UNKNOWN = "its connection ends before it begins", f"See the database's log, and {DSN}."


def refused(error: psycopg.Error) -> HubError:
    """Say why a connection could not be made; nothing of the error's own text is kept."""
    said = str(error)
    why, remedy = next(((why, do) for marks, why, do in REASONS if any(mark in said for mark in marks)), UNKNOWN)
    return unavailable(f"the store does not answer: {why}; nothing was changed", remedy)
