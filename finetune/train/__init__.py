"""Learning by gradient."""
