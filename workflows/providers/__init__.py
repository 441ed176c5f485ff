"""Providers move money: cash, the terminal's card application, acquirers. All have one protocol (``base``)."""
