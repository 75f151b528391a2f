"""A bridge to the agency's own Kafka: deliveries out to its topics, its records in to the hub. Needs the extra `kafka`.

| file | what |
|---|---|
| `config` | the configuration file as values; every mistake in it is told at once |
| `cluster` | the connection, whose secrets are never told; what the cluster refuses, in plain words |
| `tokens` | access tokens for a cluster that takes OAUTHBEARER |
| `records` | one delivery into one record, and one record into one event: the CloudEvents Kafka binding |
| `feed` | hub to topics: acknowledged to the hub once the cluster has all of a page |
| `intake` | topics to hub: offsets are committed once the hub has accepted what lies before them |
"""
