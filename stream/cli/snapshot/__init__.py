"""`patchline snapshot`: one picture with the stations' regions."""
