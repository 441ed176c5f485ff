"""The tests, as one package, so that two files of one name never meet and every test can say ``from tests.factories``."""
