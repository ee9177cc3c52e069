import pytest

from workers.ingestion.parse import delimited
from workers.ingestion.parse.dispatch import parse

from .builders import brief, reason


def test_plain_text() -> None:
    source = b"""Runbook
=======

This line was broken by an editor at a width of seventy characters or
so and goes on here.

Short lines
stay apart.

- one
  goes on
  - two
1. three
"""
    assert brief(parse("a.txt", source)) == [
        ("paragraph", 0, "This line was broken by an editor at a width of seventy characters or so and goes on here."),
        ("paragraph", 0, "Short lines\nstay apart."),
        ("list_item", 0, "one goes on"),
        ("list_item", 1, "two"),
        ("list_item", 0, "1. three"),
    ]


def test_rst_headings_by_order_of_their_rules_and_code() -> None:
    source = b"=====\nTitle\n=====\n\nText::\n\n    a = 1\n      b\n\nPart\n----\ndirect text\n"
    assert brief(parse("a.rst", source)) == [
        ("paragraph", 0, "Text:"),
        ("code", 0, "a = 1\n  b"),
        ("heading", 2, "Part"),
        ("paragraph", 0, "direct text"),
    ]


def test_logs_keep_their_lines_and_lose_colours_and_padding() -> None:
    source = b"\x1b[31mERROR\x1b[0m disk\nINFO ok\n" + b"\0" * 500
    assert brief(parse("a.log", source)) == [("paragraph", 0, "ERROR disk\nINFO ok")]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("naïve", "cp1252"),
        ("Prix : 20 € pour l’été, déjà vu. Où est-ce ?", "cp1252"),
        ("Der Dienst läuft; größere Änderungen bitte ankündigen.", "cp1252"),
        ("Zażółć gęślą jaźń. Proszę uruchomić usługę ponownie, ponieważ źle działa.", "cp1250"),
        ("Příliš žluťoučký kůň úpěl ďábelské ódy, služba byla znovu spuštěna.", "iso8859_2"),
        ("Перезапустите службу поиска после обновления индекса и проверьте очередь.", "cp1251"),
        ("Serviciul de căutare a fost oprit și pornit din nou, iar coada este goală.".replace("ș", "ş"), "cp1250"),
        ("Arama hizmeti yeniden başlatıldı ve kuyruk boş; şimdi dizin yeniden oluşturuluyor.", "cp1254"),
        ("Meklēšanas pakalpojums ir apturēts, un rinda ir tukša; kas par to atbild?", "cp1257"),
        ("Služba za iskanje je bila ustavljena in znova zagnana, da se čakalna vrsta izprazni.", "iso8859_2"),
        ("Größere Änderungen an dem Dienst sind vorher anzukündigen; ihr Name ist Müller.", "cp850"),
        ("El servicio de búsqueda se reinició después de la actualización; mañana será más rápido.", "mac_roman"),
        ("Őrült gyorsan újraindult a kereső, és a sor most már üres; ez így jó.", "cp852"),
        ("Az idő és a hőmérséklet is jó, a kereső pedig újra fut; ezt nem hittük volna el.", "cp1250"),
        ("שירות החיפוש הופעל מחדש והתור ריק. נא לבדוק את היומן.", "cp1255"),
        ("検索サービスを再起動してください。キューを確認します。", "shift_jis"),
        ("Grüße, 世界", "utf-8-sig"),
        ("Grüße, 世界", "utf-16"),
        ("Grüße, 世界", "utf-32"),
        ("plain words only", "utf-16-le"),
        ("plain words only", "utf-32-be"),
    ],
)
def test_encodings(text: str, encoding: str) -> None:
    assert parse("a.txt", text.encode(encoding)).blocks[0].text == text


def test_a_broken_byte_does_not_garble_the_rest() -> None:
    text = "Der Dienst läuft wieder; größere Änderungen bitte früh genug ankündigen. Überall übt man für Übungen. " * 4
    content = text.encode()
    assert parse("a.txt", content[:-1] + b"\xc3").blocks[0].text == text.strip() + "\ufffd"
    assert parse("a.txt", b"\xff" + content).blocks[0].text == "\ufffd" + text.strip()


def test_what_is_not_text_is_refused() -> None:
    assert reason("a.txt", bytes(range(256)) * 40) == "the file is binary, not text"
    assert reason("a.txt", b"\x89PNG\r\n\x1a\n1234") == "the file is named .txt but is a PNG image, not text"
    assert "it may be cut off" in reason("a.txt", "Grüße".encode("utf-16")[:-1])


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_delimiters(delimiter: str) -> None:
    source = f'a{delimiter}b\n"x, y; z"{delimiter}2\n\n3{delimiter}4{delimiter}5\n'
    assert parse("a.csv", source.encode()).blocks[0].rows == (("a", "b", ""), ("x, y; z", "2", ""), ("3", "4", "5"))


def test_csv_is_capped_and_says_so() -> None:
    document = parse("a.csv", b"a,b\n" * (delimited.MAX_ROWS + 1))
    assert len(document.blocks[0].rows) == delimited.MAX_ROWS
    assert document.metadata == {"truncated": f"only the first {delimited.MAX_ROWS} rows"}


def test_nothing_unseen_reaches_the_result() -> None:
    document = parse("a\0b\ud800.md", "Te\0xt \u200bwith\u00a0\x07bells \U000e0041ﬁne\n\n```\nco\0de\n```".encode())
    assert document.title == "Ab"
    assert [block.text for block in document.blocks] == ["Text with bells fine", "code"]
