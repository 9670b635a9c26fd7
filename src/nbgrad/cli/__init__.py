"""The commands of `python -m nbgrad`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from nbgrad.cli import doctor, warm


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the status to exit with."""
    parser = argparse.ArgumentParser(prog="python -m nbgrad", description="Look after the kernels.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="tell what kernels run on here, and what is amiss")
    ahead = commands.add_parser("warm", help="compile the kernels of ordinary training now")
    ahead.add_argument("pieces", nargs="*", metavar="piece", choices=[[], *warm.PIECES],
                       help=f"of {', '.join(warm.PIECES)}; all of them if left out")
    given = parser.parse_args(arguments)
    return doctor.run() if given.command == "doctor" else warm.run(given.pieces or list(warm.PIECES))
