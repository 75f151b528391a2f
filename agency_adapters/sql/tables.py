"""The two tables that are ours in an agency's database, for every dialect that SQLAlchemy speaks.

`hub_outbox`: the agency's application inserts, in the transaction in which the thing happened; a row is never changed
afterwards except by the publisher. `hub_inbox`: the receiver inserts; the application reads and sets `handled_at`.
"""

import sqlalchemy as sa
from sqlalchemy.dialects import registry
from sqlalchemy.exc import NoSuchModuleError
from sqlalchemy.schema import CreateIndex, CreateTable, DDLElement

from agency_adapters.errors import AgencyError
from agency_adapters.sql.database import told

NEW, PUBLISHED, REFUSED = "new", "published", "refused"
DIALECTS = ("sqlite", "postgresql", "mysql", "oracle", "mssql")
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite counts up plain INTEGER keys only
_WORDS = sa.MetaData()

OUTBOX = sa.Table(
    "hub_outbox",
    _WORDS,
    sa.Column("id", _NUMBER, sa.Identity(), primary_key=True, autoincrement=True),
    sa.Column("dataset", sa.String(128), nullable=False),
    sa.Column("subject", sa.Unicode(128), nullable=False),  # the agency's own id of the person
    sa.Column("happened_at", sa.DateTime(), nullable=False),  # UTC
    sa.Column("data", sa.UnicodeText(), nullable=False),  # JSON in the dataset's form
    sa.Column("corrects", sa.String(128)),  # the event_id of the row that this one corrects
    sa.Column("event_id", sa.String(128)),  # left empty, the publisher works one out
    sa.Column("state", sa.String(16), nullable=False, server_default=NEW),
    sa.Column("code", sa.String(64)),  # why refused
    sa.Column("token", sa.String(128)),  # asks the hub what became of it
    sa.Column("published_at", sa.DateTime()),  # UTC
    sa.CheckConstraint(f"state in ('{NEW}', '{PUBLISHED}', '{REFUSED}')", name="hub_outbox_state"),
    sa.Index("hub_outbox_new", "state", "id"),
    sqlite_autoincrement=True,  # an id is never given twice, also after rows were deleted
)

INBOX = sa.Table(
    "hub_inbox",
    _WORDS,
    sa.Column("id", _NUMBER, sa.Identity(), primary_key=True, autoincrement=True),  # the order in which they came
    sa.Column("delivery_id", sa.String(64), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),  # data, correction, stop, delete, test, notice
    sa.Column("number", _NUMBER, nullable=False),  # a stop has the number of what it ends
    sa.Column("dataset", sa.String(128), nullable=False),
    sa.Column("subject", sa.Unicode(128)),
    sa.Column("purpose", sa.String(64)),
    sa.Column("agreement", sa.String(64)),
    sa.Column("happened_at", sa.String(32)),
    sa.Column("data", sa.UnicodeText()),  # JSON: the fields that were released
    sa.Column("attributes", sa.UnicodeText(), nullable=False),  # JSON: the rest of the CloudEvent
    sa.Column("received_at", sa.DateTime(), nullable=False),  # UTC
    sa.Column("handled_at", sa.DateTime()),  # for the application
    sa.UniqueConstraint("delivery_id", "kind", name="hub_inbox_once"),
    sa.Index("hub_inbox_unhandled", "handled_at", "id"),
    sqlite_autoincrement=True,
)
TABLES = {"outbox": OUTBOX, "inbox": INBOX}


def ddl(name: str, dialect: str) -> str:
    """Write the statements that make a table. `name` is one of `TABLES`."""
    try:
        spoken = registry.load(dialect)()
    except NoSuchModuleError:
        raise AgencyError(f"no dialect is called {dialect}", remedy=f"One of {', '.join(DIALECTS)}.") from None
    table = TABLES[name]
    statements: list[DDLElement] = [
        CreateTable(table),
        *map(CreateIndex, sorted(table.indexes, key=lambda one: str(one.name))),
    ]
    return "".join(f"{str(one.compile(dialect=spoken)).strip()};\n" for one in statements)


def create(engine: sa.Engine, name: str) -> None:
    """Make a table with its indexes where it is not there yet."""
    with told(f"create hub_{name}"):
        TABLES[name].create(engine, checkfirst=True)
