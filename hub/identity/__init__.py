"""Who is who: keys, links, pseudonyms, tokens, sessions. Never merges two people."""
