"""`patchline snapshot`: one image with the stations' regions."""
