"""reStructuredText, AsciiDoc and Org."""

from workers.ingestion.parse.dispatch import parse

from .builders import brief, reason

RST = b"""
Guide
=====

.. note:: Be careful.

See :ref:`the docs <foo>` and :class:`~a.b.C` or |short|.

.. |short| replace:: the short way

.. py:function:: run(a, b)

   Runs *it* with ``x``.

.. code-block:: python
   :linenos:
   :caption: x.py

   def f():
       pass

.. list-table::
   :header-rows: 1

   * - Name
     - Port
   * - search
     - 80

term
  definition of it

1. one
2. two

   - nested

Sub
---

.. no-such-directive:: with an argument
   :option: x

   and its text

.. include:: /etc/passwd

+------+-----------+
| A    | B         |
+======+===========+
| 1    | over two  |
+------+ rows      +
| 2    |           |
+------+-----------+
"""


def test_rst() -> None:
    document = parse("x.rst", RST)
    assert document.title == "Guide"
    assert brief(document) == [
        ("paragraph", 0, "Note: Be careful."),
        ("paragraph", 0, "See the docs and `a.b.C` or the short way."),
        ("paragraph", 0, "run(a, b)"),
        ("paragraph", 0, "Runs it with `x`."),
        ("code", 0, "def f():\n    pass"),
        ("table", 0, (("Name", "Port"), ("search", "80"))),
        ("list_item", 0, "term: definition of it"),
        ("list_item", 0, "1. one"),
        ("list_item", 0, "2. two"),
        ("list_item", 1, "nested"),
        ("heading", 2, "Sub"),
        ("paragraph", 0, "with an argument"),
        ("paragraph", 0, "and its text"),
        ("table", 0, (("A", "B"), ("1", "over two rows"), ("2", "over two rows"))),
    ]
    assert [block.anchor for block in document.blocks if block.kind == "heading"] == ["sub"]


def test_rst_reads_no_other_file() -> None:
    directives = (b".. csv-table::\n   :file: %s\n", b".. raw:: html\n   :file: %s\n", b".. include:: %s\n")
    source = b"\n".join(directive % b"/etc/hostname" for directive in directives)
    assert reason("x.rst", source) == "the file holds no readable text"


ADOC = b"""= Runbook for Search
Ada Lovelace <ada@example.org>
v1.0, 2024-05-01
:port: 8080

Intro with *bold*, _it_ and `code *kept*` on {port}. See https://x.org[the site] or <<restart,Restart>>.

// a comment
[[restart]]
== Restart it

NOTE: Tell the team.

. First step
+
[source,bash]
----
systemctl stop search <1>
----
<1> stops it
. Second step
* bullet
** nested
* again

Port:: The port it listens on.
Host::
  The host.

.Owners
[cols="1,2",options="header"]
|===
|Service |Owner

|search
|platform `a\\|b`

2+|everything else
|===

[WARNING]
====
Do not do this.
====

=== Deeper

[format=csv]
|===
a,b
"1,5",2
|===

include::other.adoc[]

A line +
broken by hand.
"""


def test_asciidoc() -> None:
    document = parse("x.adoc", ADOC)
    assert document.title == "Runbook for Search"
    assert document.metadata == {"author": "Ada Lovelace", "updated": "2024-05-01"}
    assert brief(document) == [
        ("paragraph", 0, "Intro with bold, it and `code *kept*` on 8080. See the site or Restart."),
        ("heading", 2, "Restart it"),
        ("paragraph", 0, "Note: Tell the team."),
        ("list_item", 0, "1. First step"),
        ("code", 0, "systemctl stop search"),
        ("list_item", 0, "1. stops it"),
        ("list_item", 0, "2. Second step"),
        ("list_item", 1, "bullet"),
        ("list_item", 2, "nested"),
        ("list_item", 1, "again"),
        ("list_item", 0, "Port: The port it listens on."),
        ("list_item", 0, "Host: The host."),
        ("paragraph", 0, "Owners"),
        ("table", 0, (("Service", "Owner"), ("search", "platform `a|b`"), ("everything else", ""))),
        ("paragraph", 0, "Warning: Do not do this."),
        ("heading", 3, "Deeper"),
        ("table", 0, (("a", "b"), ("1,5", "2"))),
        ("paragraph", 0, "A line\nbroken by hand."),
    ]
    assert [block.anchor for block in document.blocks if block.kind == "heading"] == ["restart", "_deeper"]


ORG = b"""#+TITLE: Notes
#+AUTHOR: Ada
* TODO Restart [[https://x.org][the queue]]  :ops:
SCHEDULED: <2024-01-01>
:PROPERTIES:
:ID: 7
:END:
Stop *it* with ~systemctl stop~ and
wait.

1. one
   goes on
2. two
   - [X] nested

| A | B |
|---+---|
| 1 | 2 |

#+BEGIN_SRC sh
make *all*
#+END_SRC
"""


def test_org() -> None:
    document = parse("x.org", ORG)
    assert (document.title, document.metadata) == ("Notes", {"author": "Ada"})
    assert brief(document) == [
        ("heading", 1, "Restart the queue"),
        ("paragraph", 0, "Stop it with `systemctl stop` and wait."),
        ("list_item", 0, "1. one goes on"),
        ("list_item", 0, "2. two"),
        ("list_item", 1, "nested"),
        ("table", 0, (("A", "B"), ("1", "2"))),
        ("code", 0, "make *all*"),
    ]
