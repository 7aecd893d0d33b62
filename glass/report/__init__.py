"""The report that a user reads after training: one self-contained HTML file, and its content as JSON."""

from glass.report.data import report_document
from glass.report.render import render_html
from glass.report.run_data import RunData, load_run
from glass.report.windows import build_gallery

__all__ = ["RunData", "build_gallery", "load_run", "render_html", "report_document"]
