"""What one process of a hub changed, for the others to notice; and assertions used at any of them."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
phase = "expand"


def upgrade() -> None:
    """Make both tables, empty: a number that is not there is 0, and what was used before is known where it was."""
    op.create_table(
        "news",
        sa.Column("topic", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("topic"),
    )
    op.create_table(
        "used_assertion",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("exp_us", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
        sqlite_with_rowid=False,
    )
    op.create_index("used_assertion_exp", "used_assertion", ["exp_us"])
