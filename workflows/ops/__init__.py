"""Operations: dead letters, metrics, silence, health, maintenance, housekeeping."""
