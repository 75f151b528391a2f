"""On PostgreSQL audit rows, deliveries and the persons' index of them lie in partitions by time. SQLite stays as it is.

Their ids are drawn so that each day begins a new range (`draw` in `postgres_functions.sql`); what there is already
becomes the first partition.
"""

from alembic import context, op

revision = "0014"
down_revision = "0012"
phase = "expand"

# While the first partition's bound is looked for in what there is, nobody waits: only a validated CHECK spares ATTACH
# from reading it all under its lock. Until the tables are partitioned no id may pass the bound, so it is a year away.
CHECKED = """DO $do$
DECLARE
    key record;
BEGIN
    FOR key IN SELECT * FROM (VALUES ('audit', 'id'), ('delivery', 'id'), ('history', 'audit')) AS k(parent, name) LOOP
        IF EXISTS (SELECT 1 FROM pg_class WHERE oid = key.parent::regclass AND relkind = 'r' AND reltuples <> 0) THEN
            EXECUTE 'ALTER TABLE ' || key.parent || ' DROP CONSTRAINT IF EXISTS ' || key.parent || '_before_until,'
                ' ADD CONSTRAINT ' || key.parent || '_before_until CHECK (' || key.name || ' < '
                || first_id(today() + 366) || ') NOT VALID';
        END IF;
    END LOOP;
END
$do$"""
VALIDATED = """DO $do$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT conrelid::regclass AS parent, conname FROM pg_constraint WHERE conname LIKE '%before_until' LOOP
        EXECUTE 'ALTER TABLE ' || one.parent || ' VALIDATE CONSTRAINT ' || one.conname;
    END LOOP;
END
$do$"""
# Rights are taken over in the same transaction: whoever works meanwhile is not kept out.
PARTITIONED = """DO $do$
DECLARE
    key record;
    one record;
    bound text;
BEGIN
    FOR key IN SELECT * FROM (VALUES ('audit', 'id', 'id'), ('delivery', 'id', 'id'),
        ('history', 'audit', 'person, audit')) AS k(parent, name, whole)
    LOOP
        IF key.name = 'id' THEN
            EXECUTE 'ALTER SEQUENCE ' || key.parent || '_id_seq OWNED BY NONE';
        END IF;
        EXECUTE 'ALTER TABLE public.' || key.parent || ' SET SCHEMA parts';
        EXECUTE 'ALTER TABLE parts.' || key.parent || ' RENAME TO ' || key.parent || '_before';
        EXECUTE 'ALTER INDEX parts.' || key.parent || '_pkey RENAME TO ' || key.parent || '_before_pkey';
        EXECUTE 'CREATE TABLE public.' || key.parent || ' (LIKE parts.' || key.parent || '_before INCLUDING DEFAULTS)'
            ' PARTITION BY RANGE (' || key.name || ')';
        EXECUTE 'ALTER TABLE public.' || key.parent || ' ADD CONSTRAINT ' || key.parent || '_pkey PRIMARY KEY ('
            || key.whole || ')';
        SELECT substring(pg_get_constraintdef(oid) FROM '[0-9]+') INTO bound FROM pg_constraint
            WHERE conname = key.parent || '_before_until';
        IF bound IS NULL THEN
            EXECUTE 'SELECT first_id(greatest(today(), max(' || key.name || ') >> 38) + 1) FROM parts.' || key.parent
                || '_before' INTO bound;
        END IF;
        EXECUTE 'ALTER TABLE public.' || key.parent || ' ATTACH PARTITION parts.' || key.parent
            || '_before FOR VALUES FROM (MINVALUE) TO (' || bound || ')';
        EXECUTE 'ALTER TABLE parts.' || key.parent || '_before DROP CONSTRAINT IF EXISTS ' || key.parent
            || '_before_until';
        EXECUTE 'CREATE TABLE parts.' || key.parent || '_other PARTITION OF public.' || key.parent || ' DEFAULT';
        IF key.name = 'id' THEN
            EXECUTE 'ALTER SEQUENCE ' || key.parent || '_id_seq OWNED BY public.' || key.parent || '.id';
        END IF;
        FOR one IN
            SELECT a.privilege_type AS what, '' AS columns, a.grantee::regrole AS who
            FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
            WHERE c.oid = ('parts.' || key.parent || '_before')::regclass AND a.grantee NOT IN (0, c.relowner)
            UNION ALL
            SELECT a.privilege_type, ' (' || quote_ident(t.attname) || ')', a.grantee::regrole
            FROM pg_attribute t CROSS JOIN LATERAL aclexplode(t.attacl) a
            WHERE t.attrelid = ('parts.' || key.parent || '_before')::regclass AND a.grantee <> 0
        LOOP
            EXECUTE 'GRANT ' || one.what || one.columns || ' ON public.' || key.parent || ' TO ' || one.who;
            EXECUTE 'REVOKE ALL ON parts.' || key.parent || '_before FROM ' || one.who;
        END LOOP;
    END LOOP;
END
$do$"""


def upgrade() -> None:
    """Check in peace, then swap: three short steps whose locks are waited for 200 ms at a time (`under_way.py`)."""
    if op.get_context().dialect.name != "postgresql":
        return
    op.execute("CREATE SCHEMA IF NOT EXISTS parts")
    if not context.is_offline_mode():
        with op.get_context().autocommit_block():
            op.execute(CHECKED)
            op.execute(VALIDATED)
    op.execute(PARTITIONED)
