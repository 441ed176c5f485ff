"""What operators see and do: dead letters, metrics, silence, health, maintenance, housekeeping."""
