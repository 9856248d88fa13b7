"""The one exception that is a message to the user."""


class InputError(ValueError):
    """Something the user gave is wrong: a config value, a file, a folder, an image range.

    The command line shows the message alone, without a traceback, so it names the value, the limit and the remedy.
    """
