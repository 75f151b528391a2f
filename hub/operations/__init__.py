"""What an operator sees and does: how the hub is, what is stopped, what is kept how long, which keys there are."""
