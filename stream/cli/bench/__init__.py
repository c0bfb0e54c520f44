"""`patchline bench`: what this machine sustains."""
