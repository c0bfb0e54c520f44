"""Commands of `patchline` that have a file of their own; `stream.cli` registers them."""
