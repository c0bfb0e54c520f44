"""Changes of a live bundle: jobs that make them, the archive that undoes them."""
