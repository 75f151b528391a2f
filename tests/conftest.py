"""What every test shares: how Hypothesis runs. Anything else belongs to the file that needs it."""

from hypothesis import settings

# No deadline: two workers on a small machine make single examples slow without anything being wrong.
settings.register_profile("house", deadline=None, print_blob=True)
settings.load_profile("house")
