"""Which reader takes which file: by extension, or by name where files of that name have none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

_READERS: Mapping[str, str] = {
    "markdown": ".md .markdown .mdown .mkd .mdx",
    "rst": ".rst .rest",
    "asciidoc": ".adoc .asciidoc .asc",
    "org": ".org",
    "html": ".html .htm .xhtml",
    "text": ".txt .text .log .tex .wiki .mediawiki .textile .creole .rdoc .pod",
    "subtitles": ".srt .vtt",
    "pdf": ".pdf",
    "docx": ".docx .docm .dotx .dotm",
    "pptx": ".pptx .pptm .ppsx .ppsm .potx .potm",
    "xlsx": ".xlsx .xlsm .xltx .xltm",
    "opendocument": ".odt .ods .odp .ott .ots .otp",
    "epub": ".epub",
    "rtf": ".rtf",
    "xls": ".xls .xlt",
    "doc": ".doc",
    "ppt": ".ppt .pps",
    "outlook": ".msg",
    "delimited": ".csv .tsv",
    "mail": ".eml .mht .mhtml",
    "notebook": ".ipynb",
    "data": ".json .jsonl .ndjson .yaml .yml",
    "xml": ".xml .nxml .dita .dbk .docbook .rss .atom .xsd .wsdl .xsl .xslt .svg .plist",
    "zip": ".zip",
    "code": ".py .pyi .js .mjs .cjs .jsx .ts .mts .cts .tsx .go .rs .java .kt .kts .c .h .cc .cpp .cxx .hh .hpp .hxx "
    ".cs .rb .rake .php .sh .bash .zsh .ksh .sql .swift .scala .lua .pl .pm .r .jl .ex .exs .erl .hs .clj .groovy "
    ".gradle .dart .vue .svelte .css .scss .less .tf .hcl .proto .graphql .gql .toml .ini .cfg .conf .properties "
    ".ps1 .bat .cmd .vb .fs .ml .m .mm .zig .nix .cmake .dockerfile .mk .rego .jinja .j2 .tmpl",
}
_BY_EXTENSION = {extension: reader for reader, extensions in _READERS.items() for extension in extensions.split()}
_NAMES: Mapping[str, str] = {
    "code": "dockerfile makefile gnumakefile jenkinsfile vagrantfile procfile rakefile gemfile podfile brewfile "
    "justfile codeowners containerfile build workspace",
    "text": "readme license licence copying notice changelog changes news authors contributing contributors todo "
    "install maintainers history security",
}
_BY_NAME = {name: reader for reader, names in _NAMES.items() for name in names.split()}

SUPPORTED = frozenset(_BY_EXTENSION)


def extension_of(name: str) -> str:
    return PurePath(name).suffix.lower()


def reader_of(name: str) -> str | None:
    """The module in this package that reads files of this name."""
    extension = extension_of(name)
    return _BY_EXTENSION.get(extension) if extension else _BY_NAME.get(PurePath(name).name.lower())
