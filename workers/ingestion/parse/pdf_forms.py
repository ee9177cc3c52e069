"""What people put onto the pages of a PDF: values in form fields, boxes of text, stamps. It is drawn apart from the
page, and becomes part of it here, at its place, so that it is read like the rest."""

from __future__ import annotations

import pypdfium2 as pdfium
import pypdfium2.raw as raw

_SHOWN = frozenset({raw.FPDF_ANNOT_WIDGET, raw.FPDF_ANNOT_FREETEXT, raw.FPDF_ANNOT_STAMP})  # links have no text
_MAX_ANNOTATIONS = 5_000  # of a page
_NORMAL = 0  # as on a screen: what is hidden there stays hidden


def prepare(document: pdfium.PdfDocument) -> None:
    """To be called before the first page is loaded: fields without an appearance of their own are given one."""
    if document.get_formtype() != raw.FORMTYPE_NONE:
        document.init_forms()


def page_of(document: pdfium.PdfDocument, index: int) -> tuple[pdfium.PdfPage, bool]:
    """A page (from 0) with what stands on it, and whether it shows anything but the frames of fields.

    Raises PdfiumError where it cannot be loaded.
    """
    page = document[index]
    drawn = raw.FPDFPage_CountObjects(page.raw) > 0
    kinds = _kinds(page)
    if not kinds & _SHOWN:
        return page, drawn
    raw.FPDFPage_Flatten(page.raw, _NORMAL)
    page.close()
    return document[index], drawn or raw.FPDF_ANNOT_STAMP in kinds  # what was flattened shows once it is loaded anew


def _kinds(page: pdfium.PdfPage) -> set[int]:
    """The subtypes of its annotations."""
    found: set[int] = set()
    for index in range(min(raw.FPDFPage_GetAnnotCount(page.raw), _MAX_ANNOTATIONS)):
        annotation = raw.FPDFPage_GetAnnot(page.raw, index)
        if annotation:
            found.add(raw.FPDFAnnot_GetSubtype(annotation))
            raw.FPDFPage_CloseAnnot(annotation)
    return found
