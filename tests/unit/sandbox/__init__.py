"""The sandbox provider's small exact parts, without a process."""
