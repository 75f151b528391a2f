#!/usr/bin/env bash
# Make the secrets that compose.yaml names, once: random passwords and tokens, and certificates for the broker and the database.
#
#   deploy/compose/make_secrets.sh [DIRECTORY]     deploy/compose/secrets where none is named; run as root for the owners
#
# What is there stays. The root key is not made here: `hub keys new`, and a backup apart (deploy/README.md).
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
to="${1:-$here/secrets}"
umask 077
mkdir -p "$to"
cd "$to"

for name in store_password store_owner_password kafka_admin_password kafka_publish_password kafka_gate_password \
            opa_bundle_token metrics_token; do
  [ -s "$name" ] || openssl rand -hex 32 | tr -d '\n' > "$name"
done

# Make key and certificate of the container $1, signed by an authority that signs nothing else: $2, whose key is not kept.
certify() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.tmp -out "$2" -days 3650 \
    -subj "/CN=exchange-hub $1 authority" 2>/dev/null
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.tmp -out request.tmp -subj "/CN=$1" 2>/dev/null
  printf 'subjectAltName=DNS:%s,DNS:localhost,IP:127.0.0.1\n' "$1" > extensions.tmp
  openssl x509 -req -in request.tmp -CA "$2" -CAkey ca.tmp -CAcreateserial -days 825 -extfile extensions.tmp \
    -out certificate.tmp 2>/dev/null
}

if [ ! -s kafka_server_pem ]; then
  certify kafka kafka_ca
  cat key.tmp certificate.tmp > kafka_server_pem
fi
if [ ! -s store_server_key.postgres ]; then
  certify postgres store_ca
  cat key.tmp > store_server_key.postgres
  cat certificate.tmp > store_server_crt.postgres
fi
rm -f ./*.tmp ./*.srl
rm -f kafka_properties
sed "s/@ADMIN@/$(cat kafka_admin_password)/g" "$here/kafka.properties" > kafka_properties

# Compose shows files to containers as they are: each belongs to the account that reads it (hub 10001, kafka 1000, opa 1000,
# postgres 999) and to nobody else. What two accounts read is there twice.
# libpq's own form (PGPASSFILE): the migration alone signs in as the owner.
rm -f store_owner_pgpass
printf 'postgres:5432:hub:hub_owner:%s\n' "$(cat store_owner_password)" > store_owner_pgpass
[ -s opa.yaml ] || echo '{}' > opa.yaml  # no secret; OPA decides nothing before it is told where its bundle is
for name in store_password store_owner_password; do cp -f "$name" "$name.postgres"; done
for name in kafka_admin_password kafka_publish_password kafka_gate_password kafka_ca; do cp -f "$name" "$name.kafka"; done
cp -f opa_bundle_token opa_bundle_token.opa
chmod 0400 ./*
chmod 0644 opa.yaml
if [ "$(id -u)" = 0 ]; then
  chown 10001:10001 ./*
  chown 999:999 ./*.postgres
  chown 1000:1000 ./*.kafka ./*.opa kafka_properties kafka_server_pem
else
  echo "not root: the files belong to you, and only containers that run as you can read them" >&2
fi
