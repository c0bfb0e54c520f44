"""`patchline check`: what would keep a line from inspecting, before it runs."""
