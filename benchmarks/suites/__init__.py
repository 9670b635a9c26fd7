"""What is timed: one file a family, every kernel warmed up in setup, parameters fixed for good."""
