"""A call that waits for somebody's word, as a Slack message."""

from __future__ import annotations

from assistant.database.approvals import Approval
from assistant.strings import say
from assistant.tools.showing import Shown, shown
from bot.slack import blocks
from bot.slack.blocks import Block
from bot.slack.clean import escape, quiet
from bot.slack.render import Part

APPROVE, DENY = "approval_yes", "approval_no"  # action ids
CODE_CHARS = 4_000


def card(approval: Approval, language: str) -> Part:
    """The exact call as code, which Slack reads nothing into; who asked; how it stands; while it waits, buttons."""
    view = shown(approval, language)
    exact = blocks.cut("\n".join(view.exact), CODE_CHARS)
    below: list[Block] = [
        blocks.section(f"*{_text(view.title)}*"),
        blocks.code(exact),
        *(blocks.context(_text(note)) for note in view.notes),
        blocks.context(f"*{_text(view.status)}*"),
    ]
    if view.result:
        below += [blocks.context(say("approvals.result", language)), blocks.code(view.result)]
    if view.before:
        below += [blocks.context(say("approvals.before", language)), blocks.code(view.before)]
    if view.open:
        below.append(_buttons(approval, view, language))
    plain = escape(f"{view.title}: {view.status}.\n{exact}\n{view.result}".strip())
    return Part("", tuple(below), quiet(plain))


def _buttons(approval: Approval, view: Shown, language: str) -> Block:
    value = f"{approval.id}:{approval.arguments_hash}"

    def words(key: str, **values: str) -> str:
        return say(f"approvals.{key}", language, **values)

    sure = blocks.confirm(
        words("confirm_title"), words("confirm_text", title=view.title[:150]), words("confirm_yes"), words("confirm_no")
    )  # fmt: skip
    return blocks.actions(
        blocks.button(APPROVE, words("approve"), value, words("approve_label"), "primary", sure),
        blocks.button(DENY, words("deny"), value, words("deny_label")),
    )


def _text(text: str) -> str:
    """Words of a tool or a person inside mrkdwn: nothing in them is a mention, a link or emphasis."""
    return escape(quiet(text)).replace("*", "∗").replace("`", "'").replace("~", "∼")
