"""Industrial cameras through their makers' GenTL producers (GenICam)."""
