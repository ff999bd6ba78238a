"""The error that a user can do something about."""


class UserError(ValueError):
    """Bad input: a file, a flag or a config value.

    The message is one line that names the file or field, what was found there and what is accepted. Command line
    programs print it and exit with status 1; everything else that is raised is a defect and keeps its traceback.
    """
