"""`patchline replay`: a recording judged again and compared."""
