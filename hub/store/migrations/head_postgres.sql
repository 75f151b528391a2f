-- Made by deploy/tools/write_schema.py; not to be edited.
-- What SQLite has as functions and PostgreSQL has not, and how ids are drawn. Made anew at each migration.
CREATE OR REPLACE FUNCTION hex(bytes bytea) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN coalesce(upper(encode(bytes, 'hex')), '');
CREATE OR REPLACE FUNCTION instr(within bytea, sought bytea) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN position(sought IN within);
CREATE OR REPLACE FUNCTION json_extract(document text, path text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN document::jsonb #>> string_to_array(substr(path, 3), '.');
-- Ids of audit rows and deliveries begin anew each day (UTC), at the day's number since 1970 times 2^38: so a range of ids
-- is a range of days, and what is partitioned by ids is partitioned by time.
CREATE OR REPLACE FUNCTION first_id(day bigint) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN day << 38;
CREATE OR REPLACE FUNCTION today() RETURNS bigint
    LANGUAGE sql VOLATILE PARALLEL SAFE
    RETURN floor(extract(epoch FROM clock_timestamp()) / 86400)::bigint;
-- Take `many` numbers that follow each other. nextval and setval are two steps, so one at a time per sequence: a lock of
-- the session, let go at once, not of the transaction, which would keep everybody out until the commit.
CREATE OR REPLACE FUNCTION draw(sequence text, many bigint) RETURNS bigint
    LANGUAGE plpgsql
    AS $$
DECLARE
    lowest bigint := CASE WHEN sequence IN ('audit_id_seq', 'delivery_id_seq') THEN first_id(today()) ELSE 0 END;
    number bigint;
BEGIN
    PERFORM pg_advisory_lock(7, sequence::regclass::oid::int);
    BEGIN
        number := nextval(sequence::regclass);
        IF many > 1 OR number < lowest THEN
            number := greatest(number, lowest);
            PERFORM setval(sequence::regclass, number + many - 1);
        END IF;
    EXCEPTION WHEN OTHERS THEN
        PERFORM pg_advisory_unlock(7, sequence::regclass::oid::int);
        RAISE;
    END;
    PERFORM pg_advisory_unlock(7, sequence::regclass::oid::int);
    RETURN number;
END
$$;
-- What is partitioned, by which column; the partitions lie in a schema of their own, where the hub's role has no business.
CREATE OR REPLACE FUNCTION partition_bounds() RETURNS TABLE(parent text, part text, from_id bigint, until_id bigint)
    LANGUAGE sql STABLE
    AS $$
SELECT p.relname::text, c.relname::text,
    coalesce(substring(pg_get_expr(c.relpartbound, c.oid) FROM 'FROM \(''(\d+)''\)'), '0')::bigint,
    substring(pg_get_expr(c.relpartbound, c.oid) FROM 'TO \(''(\d+)''\)')::bigint
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
    JOIN pg_namespace n ON n.oid = p.relnamespace
WHERE n.nspname = 'public' AND p.relkind = 'p'
$$;
-- Per partitioned table: until which day partitions are made, and the last day of what went where no partition was.
CREATE OR REPLACE FUNCTION partition_state() RETURNS TABLE(parent text, until_day bigint, stray_day bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp
    AS $$
DECLARE
    place record;
BEGIN
    FOR place IN
        SELECT b.parent, max(b.until_id) >> 38 AS until_day, CASE b.parent WHEN 'history' THEN 'audit' ELSE 'id' END AS key
        FROM public.partition_bounds() b GROUP BY b.parent ORDER BY b.parent
    LOOP
        parent := place.parent;
        until_day := place.until_day;
        EXECUTE format('SELECT max(%I) >> 38 FROM parts.%I', place.key, place.parent || '_other') INTO stray_day;
        RETURN NEXT;
    END LOOP;
END
$$;
-- Make partitions of `days` days each, from where the last one ends until `ahead` days from now; what went where none was
-- stays there. It attaches what it has made apart: whoever writes does not wait, and who reads 200 ms at most. Returns how
-- many; -1 where somebody else was in the way, and the next round tries again.
CREATE OR REPLACE FUNCTION make_partitions(days bigint, ahead bigint) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp
    SET lock_timeout = '200ms'
    AS $$
DECLARE
    place record;
    day bigint;
    part text;
    made bigint := 0;
BEGIN
    IF days NOT BETWEEN 1 AND 366 OR ahead NOT BETWEEN 1 AND 1098 THEN
        RAISE EXCEPTION 'partitions of 1 to 366 days, at most three ahead';
    END IF;
    IF NOT pg_try_advisory_xact_lock(8, 0) THEN
        RETURN 0;
    END IF;
    FOR place IN SELECT * FROM public.partition_state() LOOP
        day := greatest(place.until_day, place.stray_day + 1);
        WHILE day < public.today() + ahead LOOP
            part := place.parent || to_char(date '1970-01-01' + day::integer, '_YYYYMMDD');
            EXECUTE format('CREATE TABLE parts.%I (LIKE public.%I INCLUDING DEFAULTS)', part, place.parent);
            EXECUTE format('ALTER TABLE public.%I ATTACH PARTITION parts.%I FOR VALUES FROM (%s) TO (%s)',
                place.parent, part, public.first_id(day), public.first_id(day + days));
            day := day + days;
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
EXCEPTION WHEN lock_not_available OR check_violation THEN
    RETURN -1;
END
$$;
-- Write a partition anew whose payloads have all been emptied, `most` rows at a time, and drop the old one with the bytes
-- that emptying left in its pages. No row is lost or changed. Returns how many rows it copied; 0 where nothing is left to
-- do, or somebody was in the way.
CREATE OR REPLACE FUNCTION renew_emptied(most bigint) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp
    SET lock_timeout = '200ms'
    AS $$
DECLARE
    old record;
    anew text;
    copied bigint;
    full_ones bigint;
BEGIN
    IF NOT pg_try_advisory_xact_lock(8, 1) THEN
        RETURN 0;
    END IF;
    SELECT b.part, b.from_id, b.until_id INTO old FROM public.partition_bounds() b
    WHERE b.parent = 'delivery' AND b.until_id <= (SELECT value::bigint FROM public.fact WHERE name = 'delivered_emptied')
        AND obj_description(format('parts.%I', b.part)::regclass, 'pg_class') IS DISTINCT FROM 'renewed'
    ORDER BY b.until_id LIMIT 1;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    anew := old.part || '_anew';
    IF to_regclass(format('parts.%I', anew)) IS NULL THEN
        EXECUTE format('CREATE TABLE parts.%I (LIKE parts.%I INCLUDING DEFAULTS, PRIMARY KEY (id),'
            ' CHECK (id < %s), CHECK (id >= %s))', anew, old.part, old.until_id, old.from_id);
    END IF;
    EXECUTE format('WITH next AS (INSERT INTO parts.%I SELECT * FROM parts.%I'
        ' WHERE id > (SELECT coalesce(max(id), -1) FROM parts.%I) ORDER BY id LIMIT $1 RETURNING payload)'
        ' SELECT count(*), count(*) FILTER (WHERE length(payload) > 0) FROM next', anew, old.part, anew)
        INTO copied, full_ones USING most;
    IF full_ones > 0 THEN
        RAISE EXCEPTION 'a delivery of % is not empty', old.part;
    END IF;
    IF copied < most THEN
        EXECUTE format('ALTER TABLE public.delivery DETACH PARTITION parts.%I', old.part);
        EXECUTE format('DROP TABLE parts.%I', old.part);
        EXECUTE format('ALTER TABLE parts.%I RENAME TO %I', anew, old.part);
        EXECUTE format('ALTER INDEX parts.%I RENAME TO %I', anew || '_pkey', old.part || '_pkey');
        EXECUTE format('ALTER TABLE public.delivery ATTACH PARTITION parts.%I FOR VALUES FROM (%s) TO (%s)',
            old.part, CASE WHEN old.from_id = 0 THEN 'MINVALUE' ELSE old.from_id::text END, old.until_id);
        EXECUTE format('COMMENT ON TABLE parts.%I IS %L', old.part, 'renewed');
        RETURN greatest(copied, 1);
    END IF;
    RETURN copied;
EXCEPTION WHEN lock_not_available THEN
    RETURN 0;
END
$$;
REVOKE ALL ON FUNCTION partition_state(), make_partitions(bigint, bigint), renew_emptied(bigint) FROM PUBLIC;
CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE agency_key (
    agency VARCHAR NOT NULL,
    kid VARCHAR NOT NULL,
    jwk VARCHAR NOT NULL,
    from_us BIGINT NOT NULL,
    until_us BIGINT NOT NULL,
    PRIMARY KEY (agency, kid)
);
CREATE TABLE agency_state (
    number BIGSERIAL NOT NULL,
    suspended INTEGER NOT NULL,
    since_us BIGINT NOT NULL,
    PRIMARY KEY (number)
);
CREATE TABLE agreement_state (
    number BIGSERIAL NOT NULL,
    phase VARCHAR NOT NULL,
    since_us BIGINT NOT NULL,
    PRIMARY KEY (number)
);
CREATE TABLE audit (
    id BIGSERIAL NOT NULL,
    kind INTEGER NOT NULL,
    at_us BIGINT NOT NULL,
    leaf BYTEA NOT NULL,
    fences BYTEA NOT NULL,
    detail BYTEA NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE bus_record (
    id BIGSERIAL NOT NULL,
    key BYTEA NOT NULL,
    value BYTEA NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE bus_topic (
    number BIGSERIAL NOT NULL,
    name VARCHAR NOT NULL,
    PRIMARY KEY (number),
    UNIQUE (name)
);
CREATE TABLE catalogue_version (
    kind VARCHAR NOT NULL,
    code VARCHAR NOT NULL,
    version INTEGER NOT NULL,
    digest VARCHAR NOT NULL,
    document VARCHAR NOT NULL,
    approved_us BIGINT NOT NULL,
    PRIMARY KEY (kind, code, version)
);
CREATE TABLE choice (
    person BIGINT NOT NULL,
    recipient INTEGER NOT NULL,
    purpose INTEGER NOT NULL,
    state INTEGER NOT NULL,
    stretch INTEGER NOT NULL,
    scope BIGINT NOT NULL,
    until_us BIGINT NOT NULL,
    assurance INTEGER NOT NULL,
    consent BIGINT NOT NULL,
    PRIMARY KEY (person, recipient, purpose)
);
CREATE TABLE consent (
    number BIGSERIAL NOT NULL,
    public VARCHAR NOT NULL,
    person BIGINT NOT NULL,
    recipient INTEGER NOT NULL,
    purpose INTEGER NOT NULL,
    stretch INTEGER NOT NULL,
    state VARCHAR NOT NULL,
    requested_us BIGINT NOT NULL,
    events INTEGER NOT NULL,
    head BYTEA NOT NULL,
    PRIMARY KEY (number),
    UNIQUE (public)
);
CREATE INDEX consent_person ON consent (person);
CREATE TABLE consent_event (
    consent BIGINT NOT NULL,
    seq INTEGER NOT NULL,
    at_us BIGINT NOT NULL,
    sealed BYTEA NOT NULL,
    hash BYTEA NOT NULL,
    PRIMARY KEY (consent, seq)
);
CREATE TABLE day_key (
    agency INTEGER NOT NULL,
    day INTEGER NOT NULL,
    key BYTEA,
    PRIMARY KEY (agency, day)
);
CREATE TABLE delivery (
    id BIGSERIAL NOT NULL,
    public BYTEA NOT NULL,
    kind INTEGER NOT NULL,
    recipient INTEGER NOT NULL,
    subscription INTEGER NOT NULL,
    version INTEGER NOT NULL,
    audit BIGINT NOT NULL,
    time_us BIGINT NOT NULL,
    parts BYTEA NOT NULL,
    payload BYTEA NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE event_conflict (
    event BYTEA NOT NULL,
    content BYTEA NOT NULL,
    at_us BIGINT NOT NULL,
    PRIMARY KEY (event, content)
);
CREATE TABLE event_seen (
    event BYTEA NOT NULL,
    content BYTEA NOT NULL,
    PRIMARY KEY (event)
);
CREATE TABLE fact (
    name VARCHAR NOT NULL,
    value VARCHAR NOT NULL,
    PRIMARY KEY (name)
);
CREATE TABLE fence (
    kind INTEGER NOT NULL,
    subject BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    PRIMARY KEY (kind, subject)
);
CREATE TABLE handout (
    recipient INTEGER NOT NULL,
    number BIGINT NOT NULL,
    delivery BIGINT NOT NULL,
    opened_us BIGINT NOT NULL,
    acked_us BIGINT,
    ended INTEGER NOT NULL,
    PRIMARY KEY (recipient, number)
);
CREATE TABLE handout_person (
    person BIGINT NOT NULL,
    recipient INTEGER NOT NULL,
    number BIGINT NOT NULL,
    stretch INTEGER NOT NULL,
    audit BIGINT NOT NULL,
    PRIMARY KEY (person, recipient, number, stretch)
);
CREATE TABLE history (
    person BIGINT NOT NULL,
    audit BIGINT NOT NULL,
    PRIMARY KEY (person, audit)
);
CREATE TABLE interned (
    id BIGSERIAL NOT NULL,
    body VARCHAR NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE link (
    local BYTEA NOT NULL,
    agency INTEGER NOT NULL,
    from_us BIGINT NOT NULL,
    until_us BIGINT,
    person BIGINT NOT NULL,
    level INTEGER NOT NULL,
    disputed INTEGER NOT NULL,
    sealed BYTEA NOT NULL,
    PRIMARY KEY (local, from_us)
);
CREATE INDEX link_person ON link (person);
CREATE TABLE person (
    id BIGSERIAL NOT NULL,
    created_us BIGINT NOT NULL,
    erased_us BIGINT,
    key BYTEA,
    born BYTEA,
    PRIMARY KEY (id)
);
CREATE TABLE position (
    partition VARCHAR NOT NULL,
    epoch BIGINT NOT NULL,
    next BIGINT NOT NULL,
    PRIMARY KEY (partition)
);
CREATE TABLE queue (
    recipient INTEGER NOT NULL,
    state INTEGER NOT NULL,
    delivery BIGINT NOT NULL,
    subscription INTEGER NOT NULL,
    person BIGINT NOT NULL,
    number BIGINT NOT NULL,
    due_us BIGINT NOT NULL,
    PRIMARY KEY (recipient, state, delivery)
);
CREATE INDEX queue_held ON queue (person, subscription, delivery) WHERE state = 2;
CREATE TABLE receipt (
    id VARCHAR NOT NULL,
    consent BIGINT NOT NULL,
    kind VARCHAR NOT NULL,
    at_us BIGINT NOT NULL,
    person BIGINT NOT NULL,
    sealed BYTEA NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX receipt_consent ON receipt (consent);
CREATE TABLE recipient_counter (
    recipient SERIAL NOT NULL,
    number BIGINT NOT NULL,
    PRIMARY KEY (recipient)
);
CREATE TABLE session (
    token BYTEA NOT NULL,
    principal VARCHAR NOT NULL,
    csrf BYTEA NOT NULL,
    expires_us BIGINT NOT NULL,
    PRIMARY KEY (token)
);
CREATE TABLE waiting (
    id BIGSERIAL NOT NULL,
    publisher INTEGER NOT NULL,
    dataset INTEGER NOT NULL,
    subject BYTEA NOT NULL,
    local BYTEA NOT NULL,
    event BYTEA NOT NULL,
    since_us BIGINT NOT NULL,
    until_us BIGINT NOT NULL,
    sealed BYTEA NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX waiting_local ON waiting (local);
CREATE INDEX waiting_subject ON waiting (subject, dataset);
CREATE TABLE waiting_key (
    subject BYTEA NOT NULL,
    key BYTEA NOT NULL,
    PRIMARY KEY (subject)
);
INSERT INTO alembic_version (version_num) VALUES ('0001') RETURNING alembic_version.version_num;
CREATE INDEX link_disputed ON link (person, agency) WHERE disputed = 1 AND until_us IS NULL;
ALTER TABLE handout ADD COLUMN used BIGINT;
UPDATE alembic_version SET version_num='0002' WHERE alembic_version.version_num = '0001';
ALTER TABLE consent ADD COLUMN due_us BIGINT;
CREATE INDEX consent_due ON consent (due_us) WHERE due_us IS NOT NULL;
UPDATE consent SET due_us = requested_us WHERE state IN ('requested', 'given', 'paused');
CREATE TABLE hold_key (
    delivery BIGINT NOT NULL,
    part INTEGER NOT NULL,
    sealed BYTEA NOT NULL,
    PRIMARY KEY (delivery, part)
);
CREATE TABLE event_unheard (
    event BYTEA NOT NULL,
    failed INTEGER NOT NULL,
    at_us BIGINT NOT NULL,
    PRIMARY KEY (event)
);
UPDATE alembic_version SET version_num='0003' WHERE alembic_version.version_num = '0002';
DROP INDEX link_person;
CREATE INDEX link_person ON link (person, agency, sealed, until_us) WHERE until_us IS NULL;
UPDATE alembic_version SET version_num='0004' WHERE alembic_version.version_num = '0003';
CREATE TABLE ask (
    id BIGSERIAL NOT NULL,
    public BYTEA NOT NULL,
    asker INTEGER NOT NULL,
    provider INTEGER NOT NULL,
    dataset INTEGER NOT NULL,
    subscription INTEGER NOT NULL,
    person BIGINT NOT NULL,
    fields BIGINT NOT NULL,
    asks INTEGER NOT NULL,
    question BIGINT NOT NULL,
    state INTEGER NOT NULL,
    stretch INTEGER NOT NULL,
    asked_us BIGINT NOT NULL,
    deadline_us BIGINT NOT NULL,
    closed_us BIGINT,
    reasons BIGINT,
    tags BYTEA NOT NULL,
    answer BYTEA,
    PRIMARY KEY (id),
    UNIQUE (public)
);
CREATE INDEX ask_open ON ask (deadline_us) WHERE state = 1;
CREATE INDEX ask_answer ON ask (deadline_us) WHERE answer IS NOT NULL;
CREATE INDEX ask_person ON ask (person, subscription);
CREATE TABLE backfill (
    id BIGSERIAL NOT NULL,
    public BYTEA NOT NULL,
    subscription INTEGER NOT NULL,
    provider INTEGER NOT NULL,
    opened_us BIGINT NOT NULL,
    until_us BIGINT NOT NULL,
    ending INTEGER NOT NULL,
    closed_us BIGINT,
    persons INTEGER NOT NULL,
    done INTEGER NOT NULL,
    cursor BYTEA NOT NULL,
    ends VARCHAR NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (public)
);
CREATE INDEX backfill_open ON backfill (subscription) WHERE closed_us IS NULL;
CREATE TABLE backfill_person (
    backfill BIGINT NOT NULL,
    person BIGINT NOT NULL,
    cleared INTEGER NOT NULL,
    PRIMARY KEY (backfill, person)
);
CREATE TABLE delivery_aim (
    delivery BIGSERIAL NOT NULL,
    "of" BYTEA NOT NULL,
    original BIGINT NOT NULL,
    fields BIGINT NOT NULL,
    asks INTEGER NOT NULL,
    until_us BIGINT NOT NULL,
    PRIMARY KEY (delivery)
);
ALTER TABLE event_seen ADD COLUMN delivery BIGINT;
ALTER TABLE event_seen ADD COLUMN deliveries BIGINT;
CREATE INDEX queue_backfill ON queue (subscription, person, state) WHERE state > 3;
UPDATE alembic_version SET version_num='0005' WHERE alembic_version.version_num = '0004';
ALTER TABLE agreement_state ADD COLUMN signed INTEGER DEFAULT 0 NOT NULL;
UPDATE agreement_state SET signed = 1 WHERE phase IN ('in_force', 'suspended');
CREATE TABLE agreement_proposal (
    digest VARCHAR NOT NULL,
    code VARCHAR NOT NULL,
    version INTEGER NOT NULL,
    document VARCHAR NOT NULL,
    datasets VARCHAR NOT NULL,
    proposed_us BIGINT NOT NULL,
    PRIMARY KEY (digest)
);
CREATE TABLE agreement_signature (
    digest VARCHAR NOT NULL,
    side VARCHAR NOT NULL,
    agency VARCHAR NOT NULL,
    kid VARCHAR NOT NULL,
    jws VARCHAR NOT NULL,
    signed_us BIGINT NOT NULL,
    PRIMARY KEY (digest, side)
);
CREATE TABLE agreement_suspension (
    agreement INTEGER NOT NULL,
    agency INTEGER NOT NULL,
    since_us BIGINT NOT NULL,
    PRIMARY KEY (agreement, agency)
);
INSERT INTO agreement_suspension(agreement, agency, since_us) SELECT number, 0, since_us FROM agreement_state WHERE phase = 'suspended';
CREATE TABLE officer_key (
    agency VARCHAR NOT NULL,
    kid VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    office VARCHAR NOT NULL,
    jwk VARCHAR NOT NULL,
    from_us BIGINT NOT NULL,
    until_us BIGINT NOT NULL,
    PRIMARY KEY (agency, kid)
);
UPDATE alembic_version SET version_num='0006' WHERE alembic_version.version_num = '0005';
CREATE INDEX link_ended ON link (person) WHERE until_us IS NOT NULL;
CREATE TABLE delivery_due (
    delivery BIGSERIAL NOT NULL,
    due_us BIGINT NOT NULL,
    PRIMARY KEY (delivery)
);
CREATE TABLE legal_hold (
    number BIGSERIAL NOT NULL,
    person BIGINT NOT NULL,
    reference VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    from_us BIGINT NOT NULL,
    until_us BIGINT NOT NULL,
    PRIMARY KEY (number)
);
CREATE INDEX legal_hold_person ON legal_hold (person);
CREATE TABLE erasure (
    person BIGSERIAL NOT NULL,
    audit BIGINT NOT NULL,
    reason VARCHAR NOT NULL,
    erased_us BIGINT NOT NULL,
    bus_until_us BIGINT NOT NULL,
    due_us BIGINT NOT NULL,
    stage INTEGER NOT NULL,
    recipient INTEGER NOT NULL,
    number BIGINT NOT NULL,
    scanned BIGINT NOT NULL,
    PRIMARY KEY (person)
);
CREATE INDEX erasure_open ON erasure (stage) WHERE stage > 0;
CREATE TABLE erasure_told (
    person BIGINT NOT NULL,
    recipient INTEGER NOT NULL,
    deliveries INTEGER NOT NULL,
    PRIMARY KEY (person, recipient)
);
CREATE TABLE dead_letter (
    number BIGSERIAL NOT NULL,
    waiting BIGINT NOT NULL,
    code VARCHAR NOT NULL,
    attempts INTEGER NOT NULL,
    last_us BIGINT NOT NULL,
    PRIMARY KEY (number)
);
CREATE UNIQUE INDEX dead_letter_waiting ON dead_letter (waiting) WHERE waiting > 0;
INSERT INTO dead_letter(waiting, code, attempts, last_us) SELECT id, 'defect', 1, since_us FROM waiting WHERE hex(local) = '00000000000000000000000000000000' ORDER BY id;
UPDATE alembic_version SET version_num='0007' WHERE alembic_version.version_num = '0006';
CREATE TABLE file_drop (
    agency SERIAL NOT NULL,
    format VARCHAR NOT NULL,
    bom INTEGER NOT NULL,
    since_us BIGINT NOT NULL,
    batches INTEGER NOT NULL,
    PRIMARY KEY (agency)
);
CREATE TABLE file_batch (
    id BIGSERIAL NOT NULL,
    batch VARCHAR NOT NULL,
    recipient INTEGER NOT NULL,
    files VARCHAR NOT NULL,
    sha256 BYTEA NOT NULL,
    first BIGINT NOT NULL,
    last BIGINT NOT NULL,
    written_us BIGINT NOT NULL,
    acked_us BIGINT,
    gone_us BIGINT,
    unwanted INTEGER NOT NULL,
    named BYTEA NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (batch)
);
CREATE INDEX file_batch_recipient ON file_batch (recipient);
UPDATE alembic_version SET version_num='0008' WHERE alembic_version.version_num = '0007';
CREATE TABLE webhook (
    agency VARCHAR NOT NULL,
    url VARCHAR NOT NULL,
    state VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    since_us BIGINT NOT NULL,
    next_us BIGINT NOT NULL,
    failures INTEGER NOT NULL,
    PRIMARY KEY (agency)
);
CREATE TABLE webhook_key (
    agency VARCHAR NOT NULL,
    kid VARCHAR NOT NULL,
    public BYTEA NOT NULL,
    sealed BYTEA NOT NULL,
    from_us BIGINT NOT NULL,
    until_us BIGINT NOT NULL,
    PRIMARY KEY (agency, kid)
);
CREATE TABLE sealing_key (
    agency VARCHAR NOT NULL,
    kid VARCHAR NOT NULL,
    public BYTEA NOT NULL,
    from_us BIGINT NOT NULL,
    until_us BIGINT NOT NULL,
    PRIMARY KEY (agency, kid)
);
UPDATE alembic_version SET version_num='0009' WHERE alembic_version.version_num = '0008';
CREATE TABLE hub_key (
    root BYTEA NOT NULL,
    name VARCHAR NOT NULL,
    wrapped BYTEA NOT NULL,
    since_us BIGINT NOT NULL,
    PRIMARY KEY (root, name)
);
CREATE TABLE last_heard (
    dataset SERIAL NOT NULL,
    at_us BIGINT NOT NULL,
    PRIMARY KEY (dataset)
);
INSERT INTO fact(name, value) SELECT 'heard_since_us', max(at_us) FROM audit HAVING max(at_us) IS NOT NULL;
UPDATE alembic_version SET version_num='0010' WHERE alembic_version.version_num = '0009';
CREATE TABLE news (
    topic INTEGER NOT NULL,
    number BIGINT NOT NULL,
    PRIMARY KEY (topic)
);
CREATE TABLE used_assertion (
    digest BYTEA NOT NULL,
    exp_us BIGINT NOT NULL,
    PRIMARY KEY (digest)
);
CREATE INDEX used_assertion_exp ON used_assertion (exp_us);
UPDATE alembic_version SET version_num='0011' WHERE alembic_version.version_num = '0010';
CREATE TABLE worker (
    id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    parts VARCHAR NOT NULL,
    since_us BIGINT NOT NULL,
    heard_us BIGINT NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE lease (
    name VARCHAR NOT NULL,
    owner VARCHAR NOT NULL,
    epoch BIGINT NOT NULL,
    until_us BIGINT NOT NULL,
    PRIMARY KEY (name)
);
CREATE TABLE webhook_proof (
    agency VARCHAR NOT NULL,
    asked_us BIGINT NOT NULL,
    begun_us BIGINT NOT NULL,
    PRIMARY KEY (agency)
);
CREATE TABLE postponed (
    recipient INTEGER NOT NULL,
    number BIGINT NOT NULL,
    PRIMARY KEY (recipient, number)
);
UPDATE alembic_version SET version_num='0012' WHERE alembic_version.version_num = '0011';
CREATE SCHEMA IF NOT EXISTS parts;
DO $do$
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
$do$;
UPDATE alembic_version SET version_num='0014' WHERE alembic_version.version_num = '0012';
ALTER TABLE session ADD COLUMN actor BIGINT;
ALTER TABLE session ADD COLUMN local BYTEA;
CREATE INDEX session_actor ON session (actor);
CREATE INDEX session_local ON session (local);
CREATE TABLE account (
    subject BYTEA NOT NULL,
    local BYTEA NOT NULL,
    since_us BIGINT NOT NULL,
    PRIMARY KEY (subject)
);
CREATE INDEX account_local ON account (local);
CREATE TABLE one_time_code (
    person BIGINT NOT NULL,
    aim VARCHAR NOT NULL,
    code BYTEA NOT NULL,
    expires_us BIGINT NOT NULL,
    attempts INTEGER NOT NULL,
    issued INTEGER NOT NULL,
    window_us BIGINT NOT NULL,
    PRIMARY KEY (person, aim)
);
CREATE TABLE kept_form (
    token BYTEA NOT NULL,
    person BIGINT NOT NULL,
    sealed BYTEA NOT NULL,
    expires_us BIGINT NOT NULL,
    PRIMARY KEY (token)
);
CREATE INDEX kept_form_person ON kept_form (person);
UPDATE alembic_version SET version_num='0015' WHERE alembic_version.version_num = '0014';
