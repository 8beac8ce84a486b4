"""`switchboard doctor`: looks at everything that usually goes wrong, and says what to do about it.

Exit status: 0 nothing fails, 1 something does, 2 wrong usage, 78 bad configuration.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from typing import Any

from server.config import Settings
from server.operating.asking import add_arguments, configured
from server.operating.findings import Finding, Verdict
from server.operating.inside import look_inside
from server.operating.outside import Outside

MOST_IDLE_SECONDS = 3600.0

_COLOURS = {Verdict.OK: "32", Verdict.WARN: "33", Verdict.FAIL: "31", Verdict.SKIP: "90"}


def add_to(commands: Any) -> None:
    """Add the command to the command's parser."""
    parser = commands.add_parser("doctor", help="look at everything that usually goes wrong")
    parser.add_argument(
        "--idle",
        metavar="SECONDS",
        type=_idle,
        default=0.0,
        help="leave a WebSocket alone for so long, to see whether a proxy cuts it (default: do not try)",
    )
    parser.add_argument(
        "--outside", action="store_true", help="only through the URL; for a machine that is not the server's"
    )
    add_arguments(parser)


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Look at everything and print what is found; returns the exit status.

    Args:
        options: what was parsed.
        settings: the configuration.
    """
    logging.disable()  # what goes wrong is said as a finding
    try:
        return asyncio.run(_look(options, settings))
    except KeyboardInterrupt:
        return 1
    finally:
        logging.disable(logging.NOTSET)


async def _look(options: argparse.Namespace, settings: Settings) -> int:
    address = options.url or configured(settings)
    print(f"{address.url}")  # noqa: T201 the command's own voice
    failures = await _tell(Outside(address, settings, options.idle).look())
    if not options.outside:
        print("this machine")  # noqa: T201 the command's own voice
        failures += await _tell(look_inside(settings))
    return 1 if failures else 0


async def _tell(findings: AsyncIterator[Finding]) -> int:
    """Print each finding as it comes; returns how many are failures."""
    failures = 0
    async for finding in findings:
        failures += finding.verdict is Verdict.FAIL
        print(line(finding, colour=sys.stdout.isatty()), flush=True)  # noqa: T201 the command's own voice
    return failures


def line(finding: Finding, *, colour: bool = False) -> str:
    """Return what is printed of a finding: one line, and one more for what to do."""
    verdict = f"{finding.verdict.value:4}"
    if colour:
        verdict = f"\x1b[{_COLOURS[finding.verdict]}m{verdict}\x1b[0m"
    text = f"  {verdict}  {finding.what:12} {finding.says}"
    return f"{text}\n        {'':12} -> {finding.todo}" if finding.todo else text


def _idle(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= MOST_IDLE_SECONDS:
        raise argparse.ArgumentTypeError(f"from 0 to {MOST_IDLE_SECONDS:g} seconds")
    return seconds
