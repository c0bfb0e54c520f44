"""The synthetic conveyor."""
