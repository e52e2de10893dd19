"""The transcript on disk: one writer (the agent process), any number of readers, exports."""
