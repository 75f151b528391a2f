"""Accounts at a provider of sign-ins, one-time codes, forms that outlive a session; who began a session."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
phase = "expand"
INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the three tables, empty. Of the sessions that there are nobody writes down who began them: they end soon."""
    op.add_column("session", sa.Column("actor", INT, nullable=True))
    op.add_column("session", sa.Column("local", sa.LargeBinary(), nullable=True))
    op.create_index("session_actor", "session", ["actor"])
    op.create_index("session_local", "session", ["local"])
    op.create_table(
        "account",
        sa.Column("subject", sa.LargeBinary(), nullable=False),
        sa.Column("local", sa.LargeBinary(), nullable=False),
        sa.Column("since_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("subject"),
        sqlite_with_rowid=False,
    )
    op.create_index("account_local", "account", ["local"])
    op.create_table(
        "one_time_code",
        sa.Column("person", INT, nullable=False),
        sa.Column("aim", sa.String(), nullable=False),
        sa.Column("code", sa.LargeBinary(), nullable=False),
        sa.Column("expires_us", INT, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("issued", sa.Integer(), nullable=False),
        sa.Column("window_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("person", "aim"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "kept_form",
        sa.Column("token", sa.LargeBinary(), nullable=False),
        sa.Column("person", INT, nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("expires_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("token"),
    )
    op.create_index("kept_form_person", "kept_form", ["person"])
