"""Data sets, pools and data modules."""
