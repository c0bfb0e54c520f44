"""The rules of capture, as pure functions of values and the time: no input, output or threads."""
