"""The one exception that means: the user can fix this."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_LOGIN = re.compile(r"://\S*@")
_KEY = re.compile(r"([?&;][^=&\s]*(?:key|token|secret|sig|pass|pwd|credential|auth)[^=&\s]*=)[^&\s]+", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """Hide user name and password of addresses, and what their query calls a key, token, signature or password."""
    return _KEY.sub(r"\1***", _LOGIN.sub("://***@", text))


class UserError(Exception):
    """A fault the user can mend; its text is one line: what is wrong, where, and what to do. Never a password."""

    def __init__(self, message: str) -> None:
        super().__init__(without_secrets(" ".join(message.split())))


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the program with exit code 1 and one line where the block raises a UserError."""
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
