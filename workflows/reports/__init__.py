"""The printable report of a settlement: gathered once, composed once, drawn as HTML or as PDF."""
