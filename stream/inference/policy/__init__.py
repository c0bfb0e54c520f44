"""The rules of a worker: values and a clock's value in, values out; no input, output or threads."""
