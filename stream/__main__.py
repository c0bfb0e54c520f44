"""`python -m stream` is the command `patchline`."""

from stream.cli import main

main()
