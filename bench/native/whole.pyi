"""Whether a JSON text has come to its end: what breaks off politely is known by this alone."""

from typing import final

@final
class Whole:
    """Follows a text in pieces, cut wherever they are.

    It says where an object, a list or a string ends, and not whether what is in it is JSON. Of a number or a word it cannot know
    that more was to come.
    """

    def __init__(self) -> None: ...
    def feed(self, data: bytes) -> None: ...
    @property
    def whole(self) -> bool:
        """Something has begun, and is not open any more."""
