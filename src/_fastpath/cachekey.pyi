"""A key of 128 bits for what a JSON request asks, however it is spelt."""

from typing import final

@final
class CacheKeys:
    """Makes the keys of one tenant. Equal requests have equal keys; others have others, but for a chance that nobody who lacks
    the secret can better: below n**2 / 2**128, where n counts the objects and lists of all requests.

    Equal are requests that differ in the order of members, in white space, in the spelling of numbers (`1`, `1.0`, `10e-1`;
    compared as decimals, so that no digit is lost) and in escapes of strings (`"\\u0041"`, `"A"`). Everything else differs: the
    order of a list, `-0` and `0`, `1` and `"1"`, an empty string, `null` and nothing, a lone surrogate and U+FFFD, a letter's case and
    its Unicode normal form. Where two spellings are read differently by some decoders, there is no key: an answer that is
    fetched once more is cheap, a wrong one is not.

    Args:
        secret: 32 to 64 random bytes, of the fleet where the cache is the fleet's.
        tenant: whose requests these are, not empty. Two tenants' keys have nothing in common.
        left_out: at most 16 names of top-level members that do not change an answer, such as b"user" or b"metadata" (UTF-8). Keys
            that were made with others left out are others, too.

    Raises:
        ValueError: the secret is too short or too long, the tenant is empty, or too many names.
    """

    def __new__(cls, secret: bytes, tenant: bytes, left_out: tuple[bytes, ...] = ()) -> CacheKeys: ...
    def key(self, body: bytes, context: bytes) -> bytes:
        """The 16 bytes of `body`'s key. `context` is whatever else decides the answer: endpoint, provider, model.

        Raises:
            ScanError: with kind "syntax" (also a number's exponent of more than nine digits), "utf8", "depth" (more than 100),
                "not_object", "duplicate" (two equal keys in one object, at any depth: decoders disagree on which one counts), or
                "too_many" (more than 65,536 members in the objects around one point).
        """
