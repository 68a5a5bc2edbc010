"""What stands between a decision and the wire."""
