"""`python -m nbgrad`."""

from nbgrad.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
