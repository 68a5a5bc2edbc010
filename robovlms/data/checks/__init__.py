"""Checks of datasets, one family per file."""
