"""What was said: text to clauses, clauses to actions."""
