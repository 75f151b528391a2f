"""AGENCIES: publish, gate, hand-out. An event's life can be read here top to bottom."""
