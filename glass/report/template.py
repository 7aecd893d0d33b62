"""The templates of all pages: one environment, in which no text of the data can do anything."""

from functools import cache, partial
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from glass.report import tables
from shards.cli.command import printable
from shards.cli.wording import counted

__all__ = ["render"]


def render(template: str, **values: Any) -> str:
    """The page that ``template``, a file beside this one, makes of ``values``: one file without a request to
    anywhere, and without a script but one of ours that sorts and filters a table.

    Every text is escaped by Jinja2, and characters that do not print (control characters, marks that turn
    the direction of writing) are shown as escapes, since names of files are untrusted.
    """
    return _environment().get_template(template).render(values)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "counted": counted,
        "upper_first": lambda text: text[:1].upper() + text[1:],
        "number": tables.number,
        "percent": tables.percent,
        "duration": tables.duration,
        "between": tables.interval_text,
        "percent_between": partial(tables.interval_text, show=tables.percent),
    }
    return environment


def _shown(value: Any) -> Any:
    """The text that Jinja2 puts in place of each ``{{ … }}``; markup of our own passes as it is."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable(value)
    return value
