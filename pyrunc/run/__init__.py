"""The only layer that changes the world: launch, converse, undo."""
