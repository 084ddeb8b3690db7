"""Counts what an answer holds that has to be paid for, as it passes."""

from typing import final

@final
class AnswerCounter:
    """Follows the body of a chat or text completion, whole or in parts.

    Whatever stands in a choice's `message` (or `delta`, or `text`) was produced, but for members that cost nothing: `id`, `role`, `type`,
    `index`, `object`, `format`, `status`, `created`, `mime_type`, `signature`, `logprobs`, `expires_at`, `annotations`, `tool_call_id`,
    `file_id`, `detail`. What stands under `audio`, `image`, `images`, `image_url`, `video`, `video_url`, `b64_json`, `inline_data` and
    `input_audio` is media, but for a `text` or `transcript`. Never raises for what the bytes are.
    """

    def __new__(cls) -> AnswerCounter: ...
    def feed(self, data: bytes) -> None:
        """The next part of the body."""

    @property
    def text_bytes(self) -> int:
        """Of the JSON strings that are text, as they stand (escapes not resolved)."""

    @property
    def media_bytes(self) -> int:
        """Of the JSON strings that are audio, images or video."""

    @property
    def usage(self) -> bytes | None:
        """The last object that is the outermost object's `usage`; None where there is none, or none of at most 8 KiB."""
