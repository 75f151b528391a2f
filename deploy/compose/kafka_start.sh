#!/usr/bin/env bash
# Start the broker of compose.yaml. The first time its storage is made, and in it the users that may sign in.
# KAFKA_HOME and SECRETS are where the image and compose put them; a test names its own.
set -euo pipefail
kafka="${KAFKA_HOME:-/opt/kafka}"
secrets="${SECRETS:-/run/secrets}"

user() {  # user NAME FILE: what the storage is told of one user
  printf 'SCRAM-SHA-512=[name=%s,password=%s]' "$1" "$(cat "$secrets/$2")"
}

# Another password later: kafka-configs.sh --alter --entity-type users; what is made here is made once.
"$kafka/bin/kafka-storage.sh" format --ignore-formatted --cluster-id "$CLUSTER_ID" --config "$secrets/kafka_properties" \
  --add-scram "$(user admin kafka_admin_password)" \
  --add-scram "$(user hub-publish kafka_publish_password)" \
  --add-scram "$(user hub-gate kafka_gate_password)"
exec "$kafka/bin/kafka-server-start.sh" "$secrets/kafka_properties"
