"""Whoever moves money, behind one protocol (``base``): cash, the terminal's own card application, acquirers."""
