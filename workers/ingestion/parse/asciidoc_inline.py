"""AsciiDoc's marks within a line, taken off: links become their labels, code keeps its backticks."""

from __future__ import annotations

import re

_REFERENCE = re.compile(r"\{([\w-]+)\}")
_BUILT_IN = {"nbsp": " ", "sp": " ", "empty": "", "zwsp": "", "blank": "", "plus": "+", "asterisk": "*", "lt": "<"}
_BUILT_IN |= {"gt": ">", "amp": "&", "startsb": "[", "endsb": "]", "vbar": "|", "caret": "^", "backtick": "`"}
_RULES = (
    (re.compile(r"(?:link|xref|mailto):([^\s\[]+)\[([^\]]*)\]"), lambda m: _label(m[2]) or m[1]),
    (re.compile(r"\b((?:https?|ftp|irc)://[^\s\[\]<>]+)\[([^\]]*)\]"), lambda m: _label(m[2]) or m[1]),
    (re.compile(r"<<([^>,]+)(?:,\s*([^>]+))?>>"), lambda m: m[2] or m[1].lstrip("#").strip("_").replace("_", " ")),
    (re.compile(r"image:[^\s\[:][^\s\[]*\[([^\],]*)[^\]]*\]"), lambda m: m[1]),
    (re.compile(r"(?:kbd|btn):\[([^\]]*)\]"), lambda m: m[1]),
    (re.compile(r"menu:([^\[\]]+)\[([^\]]*)\]"), lambda m: " > ".join(filter(None, (m[1], m[2])))),
    (re.compile(r"footnote:[\w-]*\[([^\]]*)\]"), lambda m: f" ({m[1]})"),
    (re.compile(r"\bpass:[a-z,]*\[(.*?)\]"), lambda m: m[1]),
    (re.compile(r"\(\(\(.*?\)\)\)"), lambda m: ""),
    (re.compile(r"\(\(([^()]+)\)\)"), lambda m: m[1]),
    (re.compile(r"\[\[[^\]]+\]\]"), lambda m: ""),
    (re.compile(r"\[[.#][\w .#-]*\](?=[#*_`])"), lambda m: ""),
    (re.compile(r"(?<![\w`])``(.+?)``(?![\w`])"), lambda m: f"`{m[1]}`"),
    (re.compile(r"`\+(.+?)\+`"), lambda m: f"`{m[1]}`"),
    (re.compile(r"\+\+\+(.+?)\+\+\+|\+\+(.+?)\+\+"), lambda m: m[1] or m[2]),
    (re.compile(r"(?<![\w*\\])\*\*?(\S|\S.*?\S)\*\*?(?![\w*])"), lambda m: m[1]),
    (re.compile(r"(?<![\w_\\`])__?(\S|\S.*?\S)__?(?![\w_])"), lambda m: m[1]),
    (re.compile(r"(?<![\w#\\])##?(\S|\S.*?\S)##?(?![\w#])"), lambda m: m[1]),
    (re.compile(r"(?<!\w)\"`(.+?)`\"(?!\w)"), lambda m: f"“{m[1]}”"),
)
_CODE = re.compile(r"(?<![\w`\"])`[^`\n]+`(?![\w`])")


class Attributes(dict[str, str]):
    """The document's own, over those that AsciiDoc brings; an unknown one stays as it is written."""

    def filled(self, text: str) -> str:
        for _ in range(3):  # a value may name another attribute; one that names itself must end
            done = _REFERENCE.sub(self._value, text)
            if done == text or len(done) > 4 * len(text) + 10_000:
                return done
            text = done
        return text

    def _value(self, match: re.Match[str]) -> str:
        name = match[1].lower()
        return self.get(name, _BUILT_IN.get(name, match[0]))


def plain(text: str, attributes: Attributes) -> str:
    """``text`` without its marks."""
    kept: list[str] = []

    def keep(match: re.Match[str]) -> str:
        kept.append(match[0].replace("`+", "`").replace("+`", "`"))
        return f"\ue000{len(kept) - 1}\ue001"

    text = _CODE.sub(keep, attributes.filled(text).replace("\ue000", "").replace("\ue001", ""))
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    text = re.sub(r"\\(?=[*_`#{\[<])", "", text)
    return re.sub("\ue000(\\d+)\ue001", lambda match: kept[int(match[1])], text).strip()


def _label(text: str) -> str:
    return re.sub(r",\s*(?:window|role|opts|id|rel|title)=.*$", "", text).strip('"^ ')
