"""Webhooks as a way out, the keys they are signed with, and the keys that agencies have payloads sealed to."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
phase = "expand"
INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the three tables, empty."""
    op.create_table(
        "webhook",
        sa.Column("agency", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("since_us", INT, nullable=False),
        sa.Column("next_us", INT, nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("agency"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "webhook_key",
        sa.Column("agency", sa.String(), nullable=False),
        sa.Column("kid", sa.String(), nullable=False),
        sa.Column("public", sa.LargeBinary(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("from_us", INT, nullable=False),
        sa.Column("until_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("agency", "kid"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "sealing_key",
        sa.Column("agency", sa.String(), nullable=False),
        sa.Column("kid", sa.String(), nullable=False),
        sa.Column("public", sa.LargeBinary(), nullable=False),
        sa.Column("from_us", INT, nullable=False),
        sa.Column("until_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("agency", "kid"),
        sqlite_with_rowid=False,
    )
