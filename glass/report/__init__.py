"""The report: what a person looks at after training, one self-contained HTML file and one JSON."""

from glass.report.data import RunData, load_run, report_document
from glass.report.render import render_html

__all__ = ["RunData", "load_run", "render_html", "report_document"]
