#!/usr/bin/env bash
# Runs once, in a new database: the role that the hub works as. It owns nothing; what it may do, the migrations grant.
set -euo pipefail
psql --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --set ON_ERROR_STOP=1 --quiet \
  --set password="$(cat "${SECRETS:-/run/secrets}/store_password")" <<'SQL'
CREATE ROLE hub LOGIN PASSWORD :'password';
REVOKE ALL ON DATABASE hub FROM PUBLIC;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE hub TO hub;
GRANT USAGE ON SCHEMA public TO hub;
SQL
