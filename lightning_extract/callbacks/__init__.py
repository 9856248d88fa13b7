"""What watches a run: budget, progress, records and summaries."""
