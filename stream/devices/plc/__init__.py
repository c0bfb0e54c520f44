"""How a PLC is reached, for all that write to one or read it: actuators, encoders and triggers."""
