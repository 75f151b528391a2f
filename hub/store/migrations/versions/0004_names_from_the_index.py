"""The index from a person to their names holds the names: a decision needs no second look-up for each."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
phase = "expand"


def upgrade() -> None:
    """Make the index anew, with all that is asked of it, for the links that stand."""
    op.drop_index("link_person", "link")
    op.create_index(  # SQLite answers from it alone only where it holds all that a query mentions
        "link_person",
        "link",
        ["person", "agency", "sealed", "until_us"],
        sqlite_where=sa.text("until_us IS NULL"),
        postgresql_where=sa.text("until_us IS NULL"),
    )
