"""File drop: which agencies have it, and the batches of files that they can see."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
phase = "expand"


def _integer() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make both tables. File drop is off for everybody until an operator turns it on."""
    op.create_table(
        "file_drop",
        sa.Column("agency", sa.Integer(), nullable=False),
        sa.Column("format", sa.String(), nullable=False),
        sa.Column("bom", sa.Integer(), nullable=False),
        sa.Column("since_us", _integer(), nullable=False),
        sa.Column("batches", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("agency"),
    )
    op.create_table(
        "file_batch",
        sa.Column("id", _integer(), nullable=False),
        sa.Column("batch", sa.String(), nullable=False),
        sa.Column("recipient", sa.Integer(), nullable=False),
        sa.Column("files", sa.String(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("first", _integer(), nullable=False),
        sa.Column("last", _integer(), nullable=False),
        sa.Column("written_us", _integer(), nullable=False),
        sa.Column("acked_us", _integer(), nullable=True),
        sa.Column("gone_us", _integer(), nullable=True),
        sa.Column("unwanted", sa.Integer(), nullable=False),
        sa.Column("named", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("batch"),
    )
    op.create_index("file_batch_recipient", "file_batch", ["recipient"])
