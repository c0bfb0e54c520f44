"""`patchline demo`: the whole product on pictures of solar cells."""
