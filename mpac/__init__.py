"""The command line, and the local stack it starts.

``mpac`` may start every other package and imports none of them at the top of a file: a word of the command line answers
in a tenth of a second, and a missing part of the product is a sentence rather than a traceback.
"""
