"""What a command answers when it cannot do what it was asked."""


class Misused(Exception):
    """The command cannot be done as asked; the message says what to do instead. Exit code 2."""


class Interrupted(Exception):
    """The stack is being stopped; what was being prepared is not needed any more."""
