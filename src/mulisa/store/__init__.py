"""The transcript on disk, and its exports."""
