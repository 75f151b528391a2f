"""Disputed links are found at once, being few; an acknowledgement says what was used."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
phase = "expand"


def upgrade() -> None:
    """Index the links that are disputed now; make room for what a recipient used of a delivery."""
    op.create_index(
        "link_disputed",
        "link",
        ["person", "agency"],
        sqlite_where=sa.text("disputed = 1 AND until_us IS NULL"),
        postgresql_where=sa.text("disputed = 1 AND until_us IS NULL"),
    )
    op.add_column("handout", sa.Column("used", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True))
