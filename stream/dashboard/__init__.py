"""The line in a browser: the live feed's newest, the event store's pages, and who may see and change what."""
