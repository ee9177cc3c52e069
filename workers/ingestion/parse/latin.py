"""Which encoding of one byte a text in Latin letters is in. A detector that counts letters is fooled by short ones.

The ASCII words of a text tell its language whatever its encoding is, and each language has few other letters: the
encoding is the one that turns the remaining bytes into letters of that language. From wide use; no library has both.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

# Language: its letters beyond ASCII; its common words that are all ASCII.
_LANGUAGES: Mapping[str, tuple[str, str]] = {
    "en": (
        "àâäçéèêëíïîñóôöüúæœøå",
        "the of and to in is that for it with as was on are be this by not or from have at",
    ),
    "de": (
        "äöüß",
        "der die und das den von zu mit sich des auf ist im dem nicht ein eine als auch es an werden aus bei",
    ),
    "fr": (
        "àâæçéèêëîïôœùûüÿ",
        "le la les de des et un une du en que qui dans pour pas sur au plus par est ce il elle ne",
    ),
    "es": ("áéíñóúü", "de la que el en los se del las un por con no una su para es al lo como o pero sus le ha me"),
    "pt": ("áâãàçéêíóôõúü", "de que o do da em um para com uma os no se na por mais as dos como mas ao das foi ele"),
    "it": ("àèéìíîòóù", "di che il la per in un non con del da una sono le si dei al come nel alla ha gli lo delle"),
    "ca": ("àçèéíïòóúü", "de la el que en les els per un una amb no del al es ha com dels seva pel o va aquest"),
    "nl": ("áéëèïóöüê", "de het een van en in is dat op te zijn met voor niet die aan er om ook als maar dan of bij"),
    "da": ("æøåé", "og i at det en er til af som den der med ikke de et har om vi kan var han jeg hun fra ved eller"),
    "sv": ("åäöé", "och att det i som en av den med till inte ett de om har jag var kan han vi men eller vid ska"),
    "fi": ("äöåšž", "ja on ei se ett ovat oli joka mutta kun kuin niin hän tai vain ole jos ovat sen nyt voi mukaan"),
    "is": ("áðéíóúýþæö", "og er að sem til en um var hann ekki af hafa eru hefur eftir fyrir með honum vera upp eða"),
    "et": ("äöüõšž", "ja on ei et see ka oli kui ta mis selle ning oma aga siis nii ole kes seda pole saab veel"),
    "lv": ("āčēģīķļņšūžŗō", "un ir ar no uz par kas ka bet tas vai pie kad arī nav lai pa tika tiek vairs bija gada"),
    "lt": ("ąčęėįšųūž", "ir kad yra su bei iki nuo kaip tai per apie jis bet prie buvo savo kurie arba dar tik pagal"),
    "pl": ("ąćęłńóśźż", "w i z na do jest nie to o po od przez za dla jak oraz ale tym co czy lub ich jego przy tak"),
    "cs": (
        "áčďéěíňóřšťúůýž",
        "a v se na je to s z do o i k ve pro za by ale od jako po co podle tak jeho nebo by bude",
    ),
    "sk": (
        "áäčďéíĺľňóôŕšťúýž",
        "a v sa na je to s z do o aj k vo pre za by ale od ako po alebo ktor jeho pri podľa bude",
    ),
    "sl": ("čšžćđ", "in je se na da za v so z ki pa s kot po ne ali od o bi tudi pri iz do ni lahko bil sta"),
    "hr": ("čćđšž", "i u je se na da za su od s koji kao o ne iz ili do bi to po ali ih prema samo bio nije"),
    "hu": ("áéíóöőúüű", "a az egy hogy nem is ez meg volt mint csak de vagy minden azt ki van el majd ezt lehet sem"),
    "ro": ("ăâîșțşţ", "de a la cu pe nu din o un care este mai pentru sau prin dar fost sunt ca se au ale lui el"),
    "tr": ("çğıİöşüâîû", "ve bir bu da de ile olarak daha ne var o ama kadar en sonra olan gibi her ben ya mi yok"),
    "sq": ("ëç", "dhe i e me nga se ka si tij por kishte nuk ishte ne mund kur prej do duke apo edhe para"),
    "eo": ("ĉĝĥĵŝŭ", "la de kaj en estas al ne ke mi por kun el li sed ili pri kiu da plej ankaŭ sur oni aŭ"),
    "vi": (
        "ăâđêôơưàáèéìíòóùúýñ\u0300\u0301\u0303\u0309\u0323",
        "cho khi trong theo sau con hai hay thanh tin nhau qua",
    ),
    "cy": ("âêîôûŵŷáéíóúäëïöü", "y yn a i o ar yr mae ac wedi oedd bod fel am ei hyn gan eu neu hefyd na nid"),
}
# The likelier first: it wins where several make the same of the bytes, or letters that fit as well.
_ENCODINGS = (
    "cp1252 cp1250 iso8859_2 cp1254 cp1257 iso8859_15 iso8859_16 iso8859_13 iso8859_4 iso8859_3 iso8859_14 cp1258 "
    "cp850 cp852 cp857 mac_roman mac_latin2"
).split()
_PRIOR = 0.004  # what each place in that list costs
_PLAIN = frozenset("“”„‘’‚–—…•«»‹›€£§°©®™¡¿\u00a0\u00ad†‡‰№")
_LEAST_FIT = 0.93  # of the bytes beyond ASCII become letters of the language, or punctuation
_WORD = re.compile(rb"[A-Za-z\x80-\xff]+")
_MISPLACED = re.compile(  # a capital after a small letter; a mark between two letters
    r"(?<=[a-zß-öø-ÿ])[À-ÖØ-ÞĀĂĄĆČĎĐĒĖĘĚĞĢĪĮİĶĹĻĽŁŃŅŇŌŐŘŚŞŠŢŤŪŮŰŲŹŻŽȘȚ]|(?<=[^\W\d_])[“”„‚•«»‹›€£§°©®™¡¿†‡‰](?=[^\W\d_])"
)


def latin_encoding(sample: bytes) -> str | None:
    """The name of the encoding; None where this is not text in Latin letters, or fits none of them well."""
    high = sum(byte > 0x7F for byte in sample)
    letters = high + sum(chr(byte).isalpha() for byte in sample if byte < 0x80)
    if not high or high > 0.3 * letters:
        return None
    words = Counter(word.lower() for word in _WORD.findall(sample))
    likely = {language: _share(words, common.split()) for language, (_, common) in _LANGUAGES.items()}
    best, found = 0.0, None
    for place, encoding in enumerate(_ENCODINGS):
        text = _decoded(sample, encoding)
        if text is None:
            continue
        counts = Counter(character for character in text if character > "\x7f")
        odd = _misplaced(text)
        for language, (own, _) in _LANGUAGES.items():
            fit = _fit(counts, own, odd)
            score = fit + likely[language] - _PRIOR * place
            if fit >= _LEAST_FIT and score > best:
                best, found = score, encoding
    return found


def _decoded(sample: bytes, encoding: str) -> str | None:
    try:
        return sample.decode(encoding)
    except UnicodeDecodeError:
        return None


def _share(words: Counter[bytes], common: list[str]) -> float:
    """Of all words those that this language uses all the time, from 0 to 1."""
    return sum(words[word.encode()] for word in set(common) if word.isascii()) / max(words.total(), 1)


def _fit(counts: Counter[str], own: str, odd: int) -> float:
    """The share of characters beyond ASCII that this language has; punctuation counts for half."""
    letters = sum(count for character, count in counts.items() if character.lower() in own or character in own)
    plain = sum(count for character, count in counts.items() if character in _PLAIN)
    total = max(counts.total(), 1)
    return (letters + 0.97 * plain - odd) / total


def _misplaced(text: str) -> int:
    """What a wrong encoding puts within words."""
    return sum(1 for _ in _MISPLACED.finditer(text))
