"""The one exception that means: the user can fix this."""


class UserError(Exception):
    """A fault the user can mend; its text is one line: what is wrong, where, and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
