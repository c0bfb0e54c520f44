"""Run a campaign from a terminal: `make campaign`, or `python -m campaigns --help`."""

from campaigns.command import main

main()
