"""JSON, YAML, OpenAPI, XML, notebooks and subtitles."""

import json

from workers.ingestion.parse.dispatch import parse

from .builders import brief, reason

API = {
    "openapi": "3.1.0",
    "info": {"title": "Pet shop", "version": "1.2", "description": "Sells *pets*."},
    "servers": [{"url": "https://pets.example.com"}],
    "paths": {
        "/pets/{id}": {
            "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}],
            "get": {
                "summary": "One pet",
                "operationId": "getPet",
                "parameters": [{"$ref": "#/components/parameters/Verbose"}],
                "responses": {
                    "200": {
                        "description": "Found",
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}},
                    }
                },
            },
        }
    },
    "components": {
        "parameters": {
            "Verbose": {"name": "verbose", "in": "query", "schema": {"type": "boolean"}, "description": "More"}
        },
        "schemas": {
            "Pet": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "description": "What it is called"},
                    "tags": {"type": "array", "items": {"type": "string"}},
                },
            }
        },
    },
}
OPERATION = [
    ("heading", 2, "GET /pets/{id}"),
    ("paragraph", 0, "One pet (operation: getPet)"),
    (
        "table",
        0,
        (
            ("Parameter", "In", "Type", "Required", "Description"),
            ("id", "path", "integer", "yes", ""),
            ("verbose", "query", "boolean", "no", "More"),
        ),
    ),
    ("table", 0, (("Response", "Description", "Body"), ("200", "Found", "Pet"))),
    ("heading", 2, "Schema Pet"),
    (
        "table",
        0,
        (
            ("Field", "Type", "Required", "Description"),
            ("name", "string", "yes", "What it is called"),
            ("tags", "array of string", "no", ""),
        ),
    ),
]


def test_openapi_in_json() -> None:
    document = parse("api.json", json.dumps(API).encode())
    assert document.title == "Pet shop"
    assert brief(document)[-len(OPERATION) :] == OPERATION
    assert [block.anchor for block in document.blocks if block.kind == "heading"] == ["getpet", "schema-pet"]


def test_swagger_in_yaml() -> None:
    source = b"""swagger: "2.0"
info: {title: Old api, version: 1}
host: api.example.com
paths:
  /users:
    post:
      description: Makes a **user**.
      parameters:
        - {in: body, name: user, schema: {$ref: '#/definitions/User'}}
      responses: {201: {description: Made}}
definitions:
  User: {properties: {mail: {type: string, format: email}}}
"""
    found = brief(parse("api.yaml", source))
    assert ("heading", 2, "POST /users") in found
    assert ("paragraph", 0, "Makes a user.") in found
    fields = (("Field", "Type", "Required", "Description"), ("mail", "string (email)", "no", ""))
    assert [value for _, _, value in found].count(fields) == 2  # of the body, and of the schema


def test_json_becomes_headings_tables_and_lines() -> None:
    value = {
        "title": "Settings",
        "debug": False,
        "hosts": ["a", "b"],
        "database": {"port": 5432, "pool": {"size": 5}},
        "teams": [{"name": "core", "size": 3}, {"name": "web", "size": 4}],
    }
    document = parse("a.json", json.dumps(value).encode())
    assert document.title == "Settings"
    assert brief(document) == [
        ("list_item", 0, "title: Settings"),
        ("list_item", 0, "debug: false"),
        ("list_item", 0, "hosts: a, b"),
        ("heading", 2, "database"),
        ("list_item", 0, "port: 5432"),
        ("heading", 3, "pool"),
        ("list_item", 0, "size: 5"),
        ("heading", 2, "teams"),
        ("table", 0, (("name", "size"), ("core", "3"), ("web", "4"))),
    ]


def test_json_that_is_not_valid_says_where() -> None:
    assert reason("a.json", b'{"a": 1,\n "b" 2}') == "the file is not valid JSON: line 2, column 6"
    assert reason("a.json", b'{"a": [1, 2') == "the file is not valid JSON: it is cut off"
    assert reason("a.jsonl", b'{"a": 1}\nnothing\n') == "the file is not valid JSON: line 2"
    assert reason("a.yaml", b"a: 1\n b: 2\n") == "the file is not valid YAML: line 2"


def test_yaml_keeps_its_comments_and_is_cut_at_its_keys() -> None:
    source = b"""# The service.
name: search
# Never above four: the licence.
replicas:
  minimum: 2
  maximum: 4
  step: 1
---
kind: Deployment
metadata:
  name: mail
"""
    assert brief(parse("a.yaml", source)) == [
        ("code", 0, "# The service.\nname: search"),
        ("heading", 2, "replicas"),
        ("code", 0, "# Never above four: the licence.\nreplicas:\n  minimum: 2\n  maximum: 4\n  step: 1"),
        ("heading", 2, "Deployment mail"),
        ("code", 0, "kind: Deployment\nmetadata:\n  name: mail"),
    ]
    assert parse("a.yaml", b"a: {{ .Values.x }}\n{{- if b }}\nc: 1\n{{- end }}\n").blocks  # a Helm template


def test_feeds_and_other_xml() -> None:
    feed = b"""<?xml version="1.0"?><rss version="2.0"><channel><title>News</title>
    <item><title>It works</title><description>&lt;p&gt;Really &lt;b&gt;so&lt;/b&gt;.&lt;/p&gt;</description>
    <pubDate>Mon, 1 Jan 2024</pubDate></item></channel></rss>"""
    document = parse("a.xml", feed)
    assert document.title == "News"
    assert brief(document) == [
        ("heading", 2, "It works"),
        ("paragraph", 0, "Mon, 1 Jan 2024"),
        ("paragraph", 0, "Really so."),
    ]
    assert parse("a.xml", b"<a><b>one</b><b>two</b><b>thr").metadata == {"truncated": "the XML ends too early"}
    other = b"<services><service><name>search</name><port unit='tcp'>80</port></service></services>"
    assert brief(parse("a.xml", other)) == [
        ("heading", 2, "service search"),
        ("list_item", 0, "name: search"),
        ("list_item", 0, "port: 80, unit=tcp"),
    ]


def test_notebooks() -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Study\n", "\n", "Some *text*."]},
        {
            "cell_type": "code",
            "source": "print(1)",
            "outputs": [
                {"output_type": "stream", "text": ["1\n"]},
                {"output_type": "execute_result", "data": {"text/html": "<table><tr><th>a<th>b<tr><td>1<td>2</table>"}},
                {"output_type": "error", "ename": "KeyError", "evalue": "'x'", "traceback": ["..."]},
                {"output_type": "display_data", "data": {"image/png": "iVBOR", "text/plain": "<Figure>"}},
            ],
        },
    ]
    document = parse("a.ipynb", json.dumps({"cells": cells, "nbformat": 4, "metadata": {}}).encode())
    assert document.title == "Study"
    assert brief(document) == [
        ("paragraph", 0, "Some text."),
        ("code", 0, "print(1)"),
        ("code", 0, "1"),
        ("table", 0, (("a", "b"), ("1", "2"))),
        ("code", 0, "KeyError: 'x'"),
        ("code", 0, "<Figure>"),
    ]
    assert reason("a.ipynb", b'{"a": 1}') == "the file is JSON but not a notebook: it has no cells"


def test_subtitles_lose_their_numbers_and_keep_the_time() -> None:
    source = b"1\n00:00:01,000 --> 00:00:02,000\n<i>Hello</i>\nthere.\n\n2\n00:01:05,000 --> 00:01:06,000\nBye.\n"
    expected = [("paragraph", 0, "[00:00:01] Hello there."), ("paragraph", 0, "[00:01:05] Bye.")]
    assert brief(parse("a.srt", source)) == expected


def test_articles_in_xml_are_read_by_their_titles() -> None:
    source = b"""<?xml version="1.0"?><!DOCTYPE article PUBLIC "x" "y.dtd"><article>
    <front><title>Big study</title></front><body><sec id="s1"><title>Methods</title><p>We used <i>this</i> and that.</p>
    <sec><title>Data</title><p>Much.</p></sec></sec></body></article>"""
    document = parse("a.xml", source)
    assert document.title == "Big study"
    assert brief(document) == [
        ("heading", 1, "Methods"),
        ("paragraph", 0, "We used this and that."),
        ("heading", 2, "Data"),
        ("paragraph", 0, "Much."),
    ]


def test_records_written_behind_each_other() -> None:
    document = parse("a.json", b'{"name": "search",\n "port": 1}\n{"name": "mail", "port": 2}\n')
    assert document.blocks[0].rows == (("name", "port"), ("search", "1"), ("mail", "2"))
    assert reason("a.json", b'{"a": 1} rest') == "the file is not valid JSON: line 1, column 10"
