"""What Slack's refusals mean for us."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_slack_response import AsyncSlackResponse

LONGEST_WAIT = 600.0

# Slack's own trouble: whether the call took effect is not known.
_TRANSIENT = {"internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org"}
_LIMITED = {"ratelimited", "rate_limited", "message_limit_exceeded"}

UNREADABLE = {"missing_scope", "not_in_channel", "channel_not_found", "not_allowed_token_type", "no_permission",
              "unknown_method"}  # fmt: skip
# The message as it is will not be taken; the same words without blocks may.
TOO_MUCH = {"msg_too_long", "msg_blocks_too_long", "invalid_blocks", "invalid_blocks_format", "markdown_text_conflict",
            "invalid_metadata_format", "only_one_table_allowed", "invalid_attachments"}  # fmt: skip
# Nothing can be sent to this place any more.
GONE = {
    "channel_not_found", "not_in_channel", "is_archived", "is_inactive", "thread_not_found",
    "cannot_reply_to_message", "restricted_action", "restricted_action_read_only_channel",
    "restricted_action_thread_locked", "restricted_action_thread_only_channel", "messages_tab_disabled",
    "user_not_found", "cannot_dm_bot",
}  # fmt: skip
# A stream cannot be begun here or with this app.
NO_STREAM = {
    "unknown_method", "missing_scope", "not_allowed_token_type", "method_deprecated", "deprecated_endpoint",
    "feature_not_enabled", "access_denied", "no_permission", "not_authorized", "team_access_not_granted",
}  # fmt: skip
OVER = "message_not_in_streaming_state"
STOPPED = "stopped_by_user"
STILL_STREAMING = {"streaming_state_conflict", "cant_delete_message"}
LOST = {"message_not_found", "cant_update_message", "edit_window_closed", "cant_delete_message"}


class Refused(Exception):
    """Slack will not do this however often it is asked; ``code`` is its word for why, ``needed`` the missing scope."""

    def __init__(self, method: str, code: str, needed: str = "") -> None:
        super().__init__(f"Slack refused {method}: {code}{f' ({needed})' if needed else ''}")
        self.code = code
        self.needed = needed


class Unreachable(Exception):
    """There was no usable reply. The call may have taken effect all the same."""


class Limited(Exception):
    """The rate is limited: nothing was done, and nothing is to be tried for ``delay`` seconds."""

    def __init__(self, delay: float) -> None:
        super().__init__("Slack limits the rate")
        self.delay = delay


async def understood(method: str, request: Awaitable[AsyncSlackResponse]) -> AsyncSlackResponse:
    """The response to a call, or ``Refused``, ``Unreachable`` or ``Limited``."""
    try:
        return await request
    except SlackApiError as error:
        raise _meaning(method, error) from None
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise Unreachable(type(error).__name__) from None


def _meaning(method: str, error: SlackApiError) -> Exception:
    response = error.response  # of the SDK, or aiohttp's where the body was not JSON
    status: int = getattr(response, "status_code", None) or getattr(response, "status", None) or 0
    data: Any = getattr(response, "data", None)
    data = data if isinstance(data, dict) else {}
    code = data.get("error")
    if status == 429 or code in _LIMITED:
        return Limited(retry_after(response.headers.get("Retry-After")))
    if code is None or code in _TRANSIENT or status >= 500:
        return Unreachable(f"HTTP {status} {code or ''}".strip())
    return Refused(method, str(code), str(data.get("needed") or ""))


def retry_after(header: str | None) -> float:
    try:
        return min(max(float(header or 1), 0.1), LONGEST_WAIT)
    except ValueError:
        return 30.0
