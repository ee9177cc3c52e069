"""The texts of this week: two corpora to train on, kinds of text to compare, and strings that break tokenizers.

No lesson here, only data: the 300 news articles that gensim ships, the pages of a real developer handbook where this
machine has them (``data_folder("govuk_docs")``), files of Python's own library, and what is written out below.
"""

from __future__ import annotations

import importlib.util
import json
import random
import sysconfig
from pathlib import Path

from ml.lesson import LessonError, data_folder

# One notice in nine languages, so that what differs is the language and not the content.
SAME_NOTICE = {
    "English": "The server did not answer, so we restarted it. Please check tomorrow if all messages have arrived.",
    "German": "Der Server antwortete nicht, also haben wir ihn neu gestartet. Bitte prüft morgen, ob alle Nachrichten "
    "angekommen sind.",
    "French": "Le serveur ne répondait pas, nous l’avons donc redémarré. Veuillez vérifier demain si tous les messages "
    "sont arrivés.",
    "Spanish": "El servidor no respondía, así que lo reiniciamos. Comprobad mañana si han llegado todos los mensajes.",
    "Russian": "Сервер не отвечал, поэтому мы его перезапустили. Проверьте завтра, все ли сообщения пришли.",
    "Greek": "Ο διακομιστής δεν απαντούσε, γι’ αυτό τον επανεκκινήσαμε. Ελέγξτε αύριο αν έφτασαν όλα τα μηνύματα.",
    "Arabic": "لم يستجب الخادم، لذلك أعدنا تشغيله. يرجى التحقق غدا مما إذا كانت جميع الرسائل قد وصلت.",
    "Hindi": "सर्वर जवाब नहीं दे रहा था, इसलिए हमने उसे फिर से चालू किया। कृपया कल जाँच लें कि सभी संदेश पहुँच गए हैं।",
    "Japanese": "サーバーが応答しなかったので、再起動しました。"
    "すべてのメッセージが届いているか、明日確認してください。",
}

# Valid Unicode that has broken tokenizers, terminals and databases.
HOSTILE = [
    "",
    " ",
    "   \t\n\r\n  \u00a0\u2003\u3000 end",
    "family 👨‍👩‍👧‍👦 flag 🇩🇪 skin 👍🏽 keycap 1️⃣",  # code points glued by U+200D, U+FE0F, U+20E3
    "Z̷̢̛a͎l̵g̶o̴ e\u0301 \u00e9 \u1e9b\u0323",  # piles of combining marks; é written in two ways
    "العربية \u202eright to left\u202c עברית \u2066mix\u2069",
    "nul \x00 bell \x07 escape \x1b[31m delete \x7f next line \x85 separator \u2028",
    "\ufeffbyte order mark, replacement \ufffd, not characters \ufffe \U0010ffff",
    "한국어 \u1112\u1161\u11ab 日本語 中文𠀋 ไทย தமிழ்",
    "ſ ß ẞ İ ı ǅ ﬁ ﷺ ½ ² Ⅷ １２３ ٣",  # case, ligatures, digits that are not 0 to 9
    "'s 'S ’s don't DON'T x'll  'tis ''ve",
    "a" * 300 + " " * 50 + "!" * 40 + "1234567890" * 5,
    "<|endoftext|> <|im_start|>system",  # control tokens as a user types them
    "\U000e0041\U000e0042 invisible tags, private \ue000 \U000f0000",
]


def lee_articles() -> list[str]:
    """300 news articles, 350 kB in all; raises LessonError where gensim is not installed."""
    spec = importlib.util.find_spec("gensim")
    if spec is None or spec.origin is None:
        raise LessonError("This week's corpus is part of the gensim package, which is not installed.")
    path = Path(spec.origin).parent / "test" / "test_data" / "lee_background.cor"
    return path.read_text(encoding="utf-8").splitlines()


def handbook_pages() -> list[str]:
    """The pages of GOV.UK's developer handbook, 1.3 MB in all, or none where the data is absent."""
    folder = data_folder("govuk_docs")
    if folder is None:
        return []
    lines = (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


def python_source() -> str:
    """Four modules of Python's standard library, 100 kB or so."""
    folder = Path(sysconfig.get_path("stdlib"))
    return "\n".join(
        (folder / name).read_text(encoding="utf-8") for name in ("textwrap.py", "csv.py", "heapq.py", "bisect.py")
    )


def log_lines(number: int, seed: int = 0) -> str:
    """Made-up lines of a service's log: times, levels, addresses, identifiers, paths and durations."""
    dice = random.Random(seed)
    lines = []
    for _ in range(number):
        day = f"2026-0{dice.randint(1, 9)}-{dice.randint(10, 28)}"
        time = f"{dice.randint(10, 23)}:{dice.randint(10, 59)}:07.{dice.randint(100, 999)}"
        level = dice.choice(["INFO", "INFO", "INFO", "WARN", "ERROR"])
        address = ".".join(str(dice.randint(1, 254)) for _ in range(4))
        path = dice.choice(["/api/v2/orders", "/healthz", "/api/v2/users", "/metrics"])
        lines.append(
            f"{day}T{time}Z {level} gateway[{dice.randint(100, 9999)}] request_id={dice.getrandbits(64):016x} "
            f"client={address} GET {path}/{dice.randint(1, 99999)} status={dice.choice([200, 200, 204, 404, 503])} "
            f"duration_ms={dice.uniform(0.3, 900):.1f}"
        )
    return "\n".join(lines)


def kinds_of_text() -> dict[str, str]:
    """Texts that no tokenizer of this week was trained on, by kind."""
    kinds = {"news": "\n".join(lee_articles()[270:]), "code": python_source(), "logs": log_lines(200)}
    if pages := handbook_pages():
        kinds["handbook"] = "\n".join(pages[::10])
    return kinds
