"""What time ends: consents and questions, found by an index; holds, each under a key of its own; events that waited.

A record that is open in an older store is due at once: its true end may stand in the sealed record only, so it is
looked at once, and noted then. What an older store holds stays sealed as it is: `delivery` is insert-only.
Of events that expired there nothing is known but the log's rows, so their status stays "handled".
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
phase = "expand"


def upgrade() -> None:
    """Add what the endings are found by."""
    op.add_column("consent", sa.Column("due_us", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True))
    op.create_index(
        "consent_due",
        "consent",
        ["due_us"],
        sqlite_where=sa.text("due_us IS NOT NULL"),
        postgresql_where=sa.text("due_us IS NOT NULL"),
    )
    op.execute("UPDATE consent SET due_us = requested_us WHERE state IN ('requested', 'given', 'paused')")
    op.create_table(
        "hold_key",
        sa.Column("delivery", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("delivery", "part"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "event_unheard",
        sa.Column("event", sa.LargeBinary(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("at_us", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("event"),
        sqlite_with_rowid=False,
    )
