"""Where documents come from: one file a kind, registered by name."""
