"""`python -m stream` is the command `patchline`."""

from stream.cli.main import main

main()
