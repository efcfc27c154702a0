"""The one exception that means: the user can fix this."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A fault the user can mend; its text is one line: what is wrong, where, and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the program with exit code 1 and one line where the block raises a UserError."""
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
