"""The hub's own keys, wrapped, so that the root can be rotated; and when each dataset was last heard."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
phase = "expand"


def upgrade() -> None:
    """Make both tables, empty: the keys come at the next start. What was heard before is not known: count from here."""
    op.create_table(
        "hub_key",
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("since_us", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("root", "name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "last_heard",
        sa.Column("dataset", sa.Integer(), nullable=False),
        sa.Column("at_us", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("dataset"),
    )
    op.execute(
        "INSERT INTO fact(name, value) SELECT 'heard_since_us', max(at_us) FROM audit HAVING max(at_us) IS NOT NULL"
    )
