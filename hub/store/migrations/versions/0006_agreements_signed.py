"""Agreements are in force when both sides' officers have signed them: officers' keys, terms, signatures, suspensions.

What was in force before stays so: it was agreed under the rules of its day, and its next version needs signatures.
A suspension that stands was an operator's.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
phase = "expand"

LONG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.String(), nullable=False) for name in names]


def upgrade() -> None:
    """Add the tables, and carry what is in force over."""
    op.add_column("agreement_state", sa.Column("signed", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.execute("UPDATE agreement_state SET signed = 1 WHERE phase IN ('in_force', 'suspended')")
    op.create_table(
        "agreement_proposal",
        *_texts("digest", "code"),
        sa.Column("version", sa.Integer(), nullable=False),
        *_texts("document", "datasets"),
        sa.Column("proposed_us", LONG, nullable=False),
        sa.PrimaryKeyConstraint("digest"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "agreement_signature",
        *_texts("digest", "side", "agency", "kid", "jws"),
        sa.Column("signed_us", LONG, nullable=False),
        sa.PrimaryKeyConstraint("digest", "side"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "agreement_suspension",
        sa.Column("agreement", sa.Integer(), nullable=False),
        sa.Column("agency", sa.Integer(), nullable=False),
        sa.Column("since_us", LONG, nullable=False),
        sa.PrimaryKeyConstraint("agreement", "agency"),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO agreement_suspension(agreement, agency, since_us)"
        " SELECT number, 0, since_us FROM agreement_state WHERE phase = 'suspended'"
    )
    op.create_table(
        "officer_key",
        *_texts("agency", "kid", "name", "office", "jwk"),
        sa.Column("from_us", LONG, nullable=False),
        sa.Column("until_us", LONG, nullable=False),
        sa.PrimaryKeyConstraint("agency", "kid"),
        sqlite_with_rowid=False,
    )
