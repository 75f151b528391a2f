"""What a person agreed to: terms, notice, record, coverage, receipt. A leaf: it knows no hub, no store and no clock."""
