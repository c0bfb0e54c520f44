"""Commands of `patchline` that have a file of their own; `stream.cli.main` registers them."""
