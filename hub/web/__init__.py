"""The doors over HTTP: agencies, citizens, operators; and the one file of problems."""
