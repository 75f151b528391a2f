"""SQL databases of an agency: publish from their tables, receive into one. Needs the extra `sql`: SQLAlchemy.

| file | what |
|---|---|
| `mapping` | the mapping file as values; `draft` writes a first one; `fit` holds it to the table and the dataset |
| `rows` | one row into one event; `pages` reads rows in order, page by page |
| `outbox`, `differences` | the ways to publish: rows marked by state, or compared with what was sent (`sent`) |
| `inbox` | deliveries into `hub_inbox`, acknowledged after the commit |
| `database`, `tables` | the connection, whose secrets are never told; the two tables that are ours, as DDL |
"""
