"""The hub's own threads: what goes on without anybody asking. None of them ends silently."""
