"""Model-extraction experiments that re-run with one command and account for every query."""
