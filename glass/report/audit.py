"""The audit of a data set as a separate page, and as the section on top of a report."""

from collections.abc import Sequence

from markupsafe import Markup

from glass.auditing.document import Audit, AuditSummary
from glass.auditing.metadata_findings import BELOW_GUESSING, below_guessing
from glass.report.template import render

__all__ = ["audit_sentence", "render_audit_html"]

_SENTENCES = {
    "serious": "Serious: results on this data set would mislead.",
    "warning": "Something to look at before results are trusted.",
    "info": "Nothing that should stop you.",
}


def audit_sentence(document: AuditSummary) -> str:
    """The meaning of the worst finding."""
    return _SENTENCES[document["severity"]]


def render_audit_html(document: Audit, pictures: Sequence[tuple[str, str]] = ()) -> str:
    """The page for ``glass.auditing.audit.audit_dataset``, see :func:`glass.report.template.render`, with the
    :func:`glass.report.pair_pictures.pair_pictures` of the first pairs."""
    return render(
        "audit.html.j2",
        document=document,
        sentence=audit_sentence(document),
        below_guessing=_below_guessing(document),
        pictures=[tuple(map(Markup, pair)) for pair in pictures],
    )


def _below_guessing(document: Audit) -> str:
    """Why an AUROC lies below 0.5, where one does."""
    metadata = document["metadata"]
    if metadata is None:
        return ""
    aurocs = [metadata["auroc"], *(feature["auroc"] for feature in metadata["features"])]
    return BELOW_GUESSING if below_guessing(aurocs) else ""
