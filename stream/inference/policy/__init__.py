"""The rules of a worker, as pure functions of values and the time: no input, output or threads."""
