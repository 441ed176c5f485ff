"""Parts of the sandbox provider that need no process."""
