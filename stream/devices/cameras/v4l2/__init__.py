"""USB cameras (Video4Linux)."""
