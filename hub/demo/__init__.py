"""The demo: an invented country, played over the public HTTP API with what agencies and citizens use. Nothing else."""
