"""Runs ``python -m lightning_extract`` like the console script."""

from lightning_extract.cli import main

if __name__ == "__main__":
    main()
