"""The paths of the web server, a file for each view of the page."""
