"""What is timed: one file a family, every kernel warmed up in setup, parameters fixed for good."""

#: Samples of one call each: at least 5, at most 200, for half a second; asv sets up anew for each.
SAMPLES = (5, 200, 0.5)
