"""CITIZENS: what is asked of a person, what they say to it, and what they can see. A consent's life is read here."""
