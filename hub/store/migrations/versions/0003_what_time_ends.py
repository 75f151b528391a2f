"""When time ends a consent or a question, in a column with an index: what is due is found without opening a record.

What is open in an older store is due at once: its true end may stand in the sealed record only, so it is looked at
once, and noted then.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add what the endings are found by."""
    op.add_column("consent", sa.Column("due_us", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True))
    op.create_index("consent_due", "consent", ["due_us"], sqlite_where=sa.text("due_us IS NOT NULL"))
    op.execute("UPDATE consent SET due_us = requested_us WHERE state IN ('requested', 'given', 'paused')")
