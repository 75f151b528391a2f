"""Which processes run, what one of them alone may do, proofs that are asked for, and what webhooks have put off."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
phase = "expand"
INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the four tables, empty: whoever runs writes itself down, and takes what is to be done."""
    op.create_table(
        "worker",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("parts", sa.String(), nullable=False),
        sa.Column("since_us", INT, nullable=False),
        sa.Column("heard_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "lease",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("epoch", INT, nullable=False),
        sa.Column("until_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "webhook_proof",
        sa.Column("agency", sa.String(), nullable=False),
        sa.Column("asked_us", INT, nullable=False),
        sa.Column("begun_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("agency"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "postponed",
        sa.Column("recipient", sa.Integer(), nullable=False),
        sa.Column("number", INT, nullable=False),
        sa.PrimaryKeyConstraint("recipient", "number"),
        sqlite_with_rowid=False,
    )
