"""The live feed on its way from the sink to browsers."""
