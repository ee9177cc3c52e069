"""Tools: calls of internal and public APIs that the assistant may make for people, each described to the model."""
