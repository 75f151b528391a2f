#!/usr/bin/env bash
# Fetch the Kafka broker that pom.xml pins from Maven into .tools/kafka. Needs Java >= 17 to run it and Maven to fetch it.
set -euo pipefail
cd "$(dirname "$0")/../.."

if cmp -s deploy/engines/pom.xml .tools/kafka/pom.xml; then
  exit 0  # what this file pins is here
fi

for program in java mvn; do
  if ! command -v "$program" >/dev/null; then
    echo "$program is missing. On Debian and Ubuntu: apt-get install openjdk-17-jre-headless maven" >&2
    exit 1
  fi
done

# Beside and then into place: a fetch that broke off leaves no half of a broker.
rm -rf .tools/kafka.fetched
mkdir -p .tools
mvn --quiet --batch-mode -f deploy/engines/pom.xml dependency:copy-dependencies -DoutputDirectory="$PWD/.tools/kafka.fetched"
cp deploy/engines/pom.xml .tools/kafka.fetched/
rm -rf .tools/kafka
mv .tools/kafka.fetched .tools/kafka
echo "kafka: $(cd .tools/kafka && echo kafka-server-[0-9]*.jar)"
