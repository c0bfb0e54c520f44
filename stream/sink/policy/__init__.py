"""The rules of the sink: values and a clock's value in, values out; no input, output or threads."""
