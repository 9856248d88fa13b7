"""Victims: training, import, cards and loading."""
