"""Providers, which move money, behind one protocol (``base``): cash, the terminal's card application, acquirers."""
