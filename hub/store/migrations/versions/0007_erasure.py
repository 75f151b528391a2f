"""Erasure, what forbids it, what is still to be confirmed, and the events whose decision met a defect.

What was parked by a defect before becomes a dead letter of the class `defect`: which it was nobody noted.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
phase = "expand"
INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:  # long: one statement per table
    """Make the tables, and the index by which a person's ended links are found."""
    op.create_index(
        "link_ended",
        "link",
        ["person"],
        sqlite_where=sa.text("until_us IS NOT NULL"),
        postgresql_where=sa.text("until_us IS NOT NULL"),
    )
    op.create_table(
        "delivery_due",
        sa.Column("delivery", INT, nullable=False),
        sa.Column("due_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("delivery"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "legal_hold",
        sa.Column("number", INT, nullable=False),
        sa.Column("person", INT, nullable=False),
        sa.Column("reference", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("from_us", INT, nullable=False),
        sa.Column("until_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("legal_hold_person", "legal_hold", ["person"])
    op.create_table(
        "erasure",
        sa.Column("person", INT, nullable=False),
        sa.Column("audit", INT, nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("erased_us", INT, nullable=False),
        sa.Column("bus_until_us", INT, nullable=False),
        sa.Column("due_us", INT, nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("recipient", sa.Integer(), nullable=False),
        sa.Column("number", INT, nullable=False),
        sa.Column("scanned", INT, nullable=False),
        sa.PrimaryKeyConstraint("person"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "erasure_open", "erasure", ["stage"], sqlite_where=sa.text("stage > 0"), postgresql_where=sa.text("stage > 0")
    )
    op.create_table(
        "erasure_told",
        sa.Column("person", INT, nullable=False),
        sa.Column("recipient", sa.Integer(), nullable=False),
        sa.Column("deliveries", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("person", "recipient"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "dead_letter",
        sa.Column("number", INT, nullable=False),
        sa.Column("waiting", INT, nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index(
        "dead_letter_waiting",
        "dead_letter",
        ["waiting"],
        unique=True,
        sqlite_where=sa.text("waiting > 0"),
        postgresql_where=sa.text("waiting > 0"),
    )
    op.execute(
        "INSERT INTO dead_letter(waiting, code, attempts, last_us)"
        f" SELECT id, 'defect', 1, since_us FROM waiting WHERE hex(local) = '{'00' * 16}' ORDER BY id"
    )
