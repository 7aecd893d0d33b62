"""The audit of a data set as a page of its own, and as the section on top of a report."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from glass.auditing.metadata_findings import BELOW_GUESSING, below_guessing
from glass.report import tables
from shards.cli.command import printable

__all__ = ["audit_sentence", "render_audit_html"]

_SENTENCES = {
    "serious": "Serious: results on this data set would mislead.",
    "warning": "Something to look at before results are trusted.",
    "info": "Nothing that should stop you.",
}


def audit_sentence(document: Mapping[str, Any]) -> str:
    """What the worst finding means."""
    return _SENTENCES[document["severity"]]


def render_audit_html(document: Mapping[str, Any]) -> str:
    """One HTML file without a script, a link or a request, for
    ``glass.auditing.audit.audit_dataset``.

    Every text is escaped, and characters that do not print are shown as escapes: names of files
    are untrusted.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = tables.number
    template = environment.get_template("audit.html.j2")
    return template.render(
        document=document, sentence=audit_sentence(document), below_guessing=_below_guessing(document)
    )


def _below_guessing(document: Mapping[str, Any]) -> str:
    """Why an AUROC lies below 0.5, where one does."""
    metadata = document["metadata"]
    if metadata is None:
        return ""
    aurocs = [metadata["auroc"], *(feature["auroc"] for feature in metadata["features"])]
    return BELOW_GUESSING if below_guessing(aurocs) else ""


def _shown(value: Any) -> Any:
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable(value)
    return value
