"""Untrusted text has no effect as Markdown markup."""

import html

from shards.cli.command import markdown_text


def test_no_markup_of_a_stranger_acts() -> None:
    text = "![t](http://example.org/t.png) [x](y) `a` *b* <i> a|b \\| &lt;\nc"
    escaped = markdown_text(text)
    assert not set("[]`*<|\\\n") & set(escaped)
    assert html.unescape(escaped) == text.replace("\n", " ")
