"""The command line, and the local stack that it starts.

``mpac`` may start every other package but imports none of them at the top of a file. So a command starts within a tenth of a
second, and a missing part of the product is reported in a sentence instead of a traceback.
"""
