"""Phrases that attacks are made of, in the languages that people here write. Each is a weak sign; the model weighs them.

A name is what a person reads as a reason. The patterns run over text that ``normalising`` has made plain.
"""

from __future__ import annotations

import re
import re._parser as _parser  # type: ignore[import-not-found]  # how Python itself reads a pattern
from collections.abc import Iterable, Mapping
from typing import Any

_ORDERS = (
    r"(?:instruct\w*|directi\w+|orders?|commands?|rules?|prompts?|guidelines?|constraints?|restrictions?|polic(?:y|ies)"
    r"|programming|training|told|said|written|context|messages?|guidance|assignments?|limitations?|information)"
)
_BEFORE = r"(?:previous(?:ly)?|prior|above|preceding|earlier|before|former|initial|original|existing|all|any|your|past|foregoing)"
_DROP = (
    r"(?:ignor\w*|disregard\w*|forget\w*|forgotten|skip|override|overrule|bypass|discard|drop|neglect|abandon|overlook"
    r"|not (?:follow|listen|obey)|stop following|pay no attention|set aside|no longer (?:apply|follow|bound))"
)
_FOREIGN_DROP = (
    r"(?:(?:ignorier|vergiss|vergessen|missachte|lass)\w*.{0,40}(?:anweisung|regel|vorgabe|befehl|alles|davor|bisherig)"
    r"|(?:ignor|oubli|ne tiens pas compte).{0,40}(?:instruction|consigne|r[eè]gle|pr[eé]c[eè]d|ci-dessus)"
    r"|(?:ignor|olvid|no hagas caso|esque[çc]|desconsider|dimentic|scord).{0,40}(?:instruc|istruzion|regl|regol|regr|anterior|precedent|todo|tutt|orden)"
    r"|(?:negeer|vergeet).{0,40}(?:instructies|regels|alles|vorige)"
    r"|(?:zignoruj|zapomnij|ignoruj|zapomeň|ignorera|glöm).{0,40}(?:instruk|polece|zasad|wszystk|pokyn|reg)"
    r"|(?:игнорир|забудь|ігнор).{0,40}(?:инструкц|інструкц|правил|всё|все|команд)"
    r"|(?:忽略|无视|無視|忘记|忘掉|忘記).{0,12}(?:指令|指示|规则|規則|提示|内容|內容|所有|一切)"
    r"|(?:指示|命令|ルール|指令).{0,10}(?:無視|忘れ)|(?:지시|명령|규칙|지침).{0,10}(?:무시|잊)"
    r"|(?:تجاهل|انس).{0,40}(?:تعليمات|التعليمات|قيل|قواعد)|निर्देश.{0,20}(?:अनदेखा|भूल)|talimat.{0,20}(?:yok say|unut|görmezden))"
)  # fmt: skip
CUES: Mapping[str, str] = {
    "drops earlier instructions": rf"\b{_DROP}\b[^.!?\n]{{0,40}}\b{_BEFORE}\b[^.!?\n]{{0,30}}\b{_ORDERS}\b",
    "forgets everything": rf"\b{_DROP}\b (?:about )?(?:all|everything|anything|whatever)\b[^.!?\n]{{0,25}}(?:before|above|told|said|know|learn\w*|prior|until now|earlier)",
    "drops earlier instructions (in another language)": _FOREIGN_DROP,
    "new instructions": rf"\b(?:new|real|actual|updated|following) (?:{_ORDERS}|task|role|persona|identity)\b|\binstead,? (?:say|write|print|tell|output|respond|answer|do)\b|\bfrom now on\b|\bfrom this (?:point|moment)\b",
    "changes who the assistant is": r"\byou (?:are|will be|'re|shall be) (?:now|going to|no longer|to act|about to|free)\b|\byou(?:'re| are)? (?:will |must |should |shall )?(?:now )?(?:act|pretend|role-?play|simulat\w+|behave|respond|play)\w* (?:as|to be|like|the (?:role|part))\b|\b(?:act|behave|respond|reply|answer) as (?:if|though)?",
    "asks for a role": r"\b(?:pretend|simulate|emulate|role-?play|imagine|impersonate|character|persona|fictional|hypothetical\w*|in character)\b",
    "no rules": r"\b(?:no|without(?: any)?|free (?:of|from)|not (?:have|bound|restricted|limited)|broken free|any|zero|ignore\w*|regardless of|lack\w*)\b[^.!?\n]{0,30}\b(?:restrict\w*|limit\w*|filter\w*|rules?|moral\w*|ethic\w*|censor\w*|polic\w+|guidelines?|boundar\w+|consequences|laws?|legal\w*)\b|\b(?:un(?:filtered|censored|restricted|ethical|limited|hinged)|amoral|nsfw|immoral)\b",
    "a known jailbreak": r"\b(?:do anything now|DAN|jail\W?br(?:eak|oken)\w*|developer mode|god ?mode|dev mode|evil (?:mode|bot|confidant)|AIM|STAN|DUDE|BetterDAN|mongo ?tom|opposite mode|token system|antigpt|unrestricted mode)\b",
    "forbids refusal": r"\b(?:never|not|n't|cannot|can't|without|no|refrain from)\b[^.!?\n]{0,30}\b(?:refus\w*|declin\w*|apolog\w*|sorry|warn\w*|disclaim\w*|moraliz\w*|lectur\w*|say(?:ing)? (?:that )?you can)|\b(?:must|always|will) (?:answer|comply|obey|fulfil|provide|follow)\b|\bstay(?:ing)? in character\b|\bbreak(?:ing)? character\b",
    "asks for the prompt": r"\b(?:reveal|repeat|print|show|output|display|tell|what (?:is|are|was|were)|list|copy|return|quote|recite|disclose|leak|paste|write|give|share|summari[sz]e|translate|spell|encode|put)\b[^.!?\n]{0,40}\b(?:(?:system|initial|hidden|secret|original|internal|confidential|full|first|developer|starting|your|above|pre)[ -]){1,3}(?:\w+ ){0,2}(?:prompt|instructions?|message|directives?|guidelines|rules|configuration|text|words|context)\b|\b(?:words|text|everything|anything|lines?|sentences?) (?:written )?(?:above|before) (?:this|my|the)",
    "asks for the prompt (in another language)": r"(?:system-?prompt|systeemprompt|prompt (?:syst[eè]me|del sistema|di sistema|do sistema)|systemow|системн\w+ промпт|系统提示|系統提示|初始指令|システムプロンプト|시스템 프롬프트|موجه النظام|सिस्टम प्रॉम्प्ट|ursprünglichen? anweisung|instructions initiales|instrucciones iniciales|istruzioni iniziali|sistem istem)",
    "asks for a secret": r"\b(?:tell|give|reveal|say|know|what(?:'s| is)|guess|hint\w*|spell|write|type|share|hand|print|leak)\b[^.!?\n]{0,40}\b(?:the|your|secret|hidden) (?:secret |admin |hidden |root )*(?:password|passphrase|secret(?: key| word)?|key|code ?word|credentials|token|flag)\b",
    "asks for a secret (in another language)": r"(?:geheime?s? passwort|mot de passe secret|contrase[ñn]a secreta|la contrase[ñn]a|das passwort|parola segreta|пароль|密码告诉|密碼|パスワードを教え|비밀번호를 (?:알려|말)|كلمة السر|गुप्त पासवर्ड)",
    "speaks as the system": r"(?:<\|?(?:im_start|im_end|system|endoftext)\|?>|\[/?INST\]|<</?SYS>>|^\W{0,6}(?:system|assistant|admin\w*|developer)(?: (?:message|prompt|note|override|update))?\W{0,4}:|\[/?(?:system|assistant)\]|\bsystem override\b|</?(?:system|instructions?|passage|context|information|user)>|\"role\"\s*:\s*\"system\"|\bend of (?:context|documents?|user input|prompt|text)\b|#{2,}\s*(?:new |updated )?(?:instruction|system|rules|response))",
    "claims a right": r"\b(?:i(?:'m| am) (?:the |your |a )?(?:developer|admin\w*|creator|owner|ceo|engineer|root|programmer)|as (?:the|your) (?:developer|admin\w*|creator|root)|openai (?:staff|employee|team)|debug(?:ging)? mode|maintenance mode|sudo|i authori[sz]e|authori[sz]ed|clearance|override code|test environment)\b",
    "speaks to a model": r"\b(?:chat ?gpt|gpt-?\d*|language model|llms?|openai|an? AI\b|assistant|chatbot|the model|bard|claude|AI model|as an AI)\b",
    "steers the reply": r"\b(?:start|begin|end|precede|preface|prefix|confirm|finish|conclude)\b[^.!?\n]{0,30}\b(?:with|by|reply|response|answer|sentence|message)\b|\btwo (?:different |separate |distinct )?(?:ways|responses|answers|paragraphs|outputs)\b|\b(?:say|respond with|output|print|reply with) [\"'“«]",
    "steers whoever reads it": r"\b(?:in|to|into|of|with) (?:your|the) (?:repl(?:y|ies)|response|answer|output|solution|summary|code|program|implementation|codebase)\b|\b(?:your|the final|this) (?:answer|reply|response|output)\b|\bwhen (?:you )?(?:answer|respond|reply)\w*",
    "hides itself": r"<!--|\[//\]: #|\b(?:do not|don't|never|without) (?:mention|tell|say|reveal|show|telling|mentioning)\b[^.!?\n]{0,40}\b(?:user|anyone|anybody|this|it|human)\b|\bsecretly\b|\bhide this\b",
    "sends something away": r"!\[[^\]]*\]\(https?:|https?://\S+[?&]\w+=|\b(?:send|forward|post|upload|mail|e-?mail|append|include|insert|add|transfer|visit|download|click|share|recommend)\b[^.!?\n]{0,60}(?:https?://|www\.|\b[\w.+-]+@[\w-]+\.\w|\blink\b|\bURL\b|\battachment)",
    "orders an act": r"\b(?:please )?(?:send|forward|delete|transfer|reserve|book|invite|create|change|update|post|share|pay|approve|execute|run|deploy|integrate|incorporate|embed|insert|add|remove|replace|modify|convert|append)\b (?:the|a|an|all|every|my|this|these|your|me|following|vowels|letters|spaces|as much)\b",
    "skips a permission": r"\b(?:bypass|skip|ignore|without|regardless of|no) (?:the |my |any |waiting for (?:an? )?)?(?:approval|permissions?|access (?:check|rights?|control)|authori[sz]ation)\b|\b(?:not (?:allowed|permitted) to|no access)\b|\bas (?:if i were )?(?:an? |user )?admin\w*\b",
    "an evil aim": r"\b(?:malware|bomb|weapon|hack(?:ing|ed)?|exploit\w*|illegal\w*|drugs?|virus|phishing|steal\w*|murder|kill|evil|harmful|dangerous|swear\w*|curs(?:e|ing)|fuck\w*|shit|racist|pwned)\b",
}  # fmt: skip
NAMES = tuple(CUES)
_FLAGS = re.IGNORECASE | re.MULTILINE
_ALIKE = str.maketrans({"\u0130": "i", "\u0131": "i", "\u017f": "s"})  # what is "i" and "s" where case does not matter
_REPEATED = (_parser.MAX_REPEAT, _parser.MIN_REPEAT, _parser.POSSESSIVE_REPEAT)


def _needed(sequence: Iterable[Any]) -> frozenset[str]:
    """Strings in lower case, one of which stands in whatever this part of a pattern matches: those that are longest.
    ``{""}``, which stands in everything, where none can be told."""
    found, run = [frozenset({""})], ""
    for kind, value in (*sequence, (None, None)):
        if kind is _parser.LITERAL:
            run += chr(value).lower()
            continue
        found, run = [*found, frozenset({run})], ""
        if kind is _parser.SUBPATTERN:
            found.append(_needed(value[-1]))
        elif kind is _parser.ATOMIC_GROUP or (kind in _REPEATED and value[0]):
            found.append(_needed(value if kind is _parser.ATOMIC_GROUP else value[-1]))
        elif kind is _parser.BRANCH:
            found.append(frozenset().union(*(_needed(branch) for branch in value[1])))
    return max(found, key=lambda parts: (min(map(len, parts)), -len(parts)))


def _compiled(name: str, pattern: str) -> tuple[re.Pattern[str], tuple[str, ...]]:
    flags = re.MULTILINE if name == "a known jailbreak" else _FLAGS
    return re.compile(pattern, flags), tuple(sorted(_needed(_parser.parse(pattern, flags))))


_PATTERNS = tuple(_compiled(name, pattern) for name, pattern in CUES.items())


def counts(text: str, most: int = 4) -> list[int]:
    """How often each cue stands in ``text``, in the order of ``NAMES``; at most ``most`` times."""
    found = []
    lowered = text.translate(_ALIKE).lower()
    for pattern, needed in _PATTERNS:
        number = 0
        if not any(part in lowered for part in needed):  # a tenth of the time that the pattern itself would take
            found.append(0)
            continue
        for _ in pattern.finditer(text):
            number += 1
            if number == most:
                break
        found.append(number)
    return found
