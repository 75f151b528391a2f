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
