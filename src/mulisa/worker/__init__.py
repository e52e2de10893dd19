"""The agent process: registers for dispatch and runs sessions."""
