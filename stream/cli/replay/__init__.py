"""`patchline replay`: a recording inspected again and compared."""
