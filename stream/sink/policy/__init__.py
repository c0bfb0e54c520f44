"""The rules of the sink. Pure: values and the time in, values out; no I/O, no clock, no threads."""
