"""The exchange hub: publish, decide per record, person, recipient and field, hand out, and leave a verifiable trail."""
