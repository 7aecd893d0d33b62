"""Renders all page templates, in one Jinja2 environment that escapes all text from data."""

import re
from functools import cache, partial
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from glass.measure.bootstrap import LEAST_SCENES
from glass.report import tables
from shards.cli.command import printable
from shards.cli.wording import counted, percent
from shards.images.rejection import explained

__all__ = ["render"]


def render(template: str, **values: Any) -> str:
    """Renders ``template``, the name of a file beside this module, with ``values`` and returns the page.

    The page is one file that makes no external requests. Its only script, from this package, sorts and filters a table.
    Because file names are untrusted, unprintable characters (control characters, direction marks) are shown as escape
    sequences.
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
    environment.globals["least_scenes"] = LEAST_SCENES
    environment.filters |= {
        "counted": counted,
        "with_options": _with_options,
        "upper_first": lambda text: text[:1].upper() + text[1:],
        "explained": explained,
        "number": tables.number,
        "weakest_generator": tables.weakest_generator,
        "percent": percent,
        "duration": tables.duration,
        "named_interval": tables.named_interval,
        "percent_between": partial(tables.interval_text, show=percent),
    }
    return environment


def _with_options(text: str) -> Markup:
    """Marks up each option in ``text`` (``--equalise``) as code, which browsers do not break at its hyphens."""
    return Markup(re.sub(r"--[a-z][a-z-]*", r"<code>\g<0></code>", str(escape(printable(text)))))


def _shown(value: Any) -> Any:
    """Returns the text inserted for ``{{ … }}`` in a template: printable characters only, except in this package's own
    markup.
    """
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable(value)
    return value
