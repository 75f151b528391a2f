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
-- Take `many` numbers that follow each other. nextval and setval are two steps, so one at a time per sequence: a lock of
-- the session, let go at once, not of the transaction, which would keep everybody out until the commit.
CREATE OR REPLACE FUNCTION draw(sequence text, many bigint) RETURNS bigint
    LANGUAGE plpgsql
    AS $$
DECLARE
    number bigint;
BEGIN
    PERFORM pg_advisory_lock(7, sequence::regclass::oid::int);
    BEGIN
        number := nextval(sequence::regclass);
        IF many > 1 THEN
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
