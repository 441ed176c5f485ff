"""Operations: dead letters, metrics, silence, health, maintenance and housekeeping."""
