"""The URL: everything that can be said, every mistake named, and the password never shown."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.db.errors import QueryError
from server.db.mysql.url import MySQLOptions, parse_url, redacted


def test_everything_can_be_said() -> None:
    """All parts are percent-decoded, and all options are read."""
    options = parse_url(
        "mariadb://us%40er:p%3Aass%2F@db.example:3307/my%20base?pool=3&connect_seconds=1.5&query_seconds=2"
        "&wait_seconds=0.5&idle_seconds=7&age_seconds=8&lock_seconds=9&tls=on&tls_ca=%2Fca.pem"
    )
    assert (options.user, options.password, options.host, options.port) == ("us@er", "p:ass/", "db.example", 3307)
    assert (options.database, options.pool, options.tls, options.tls_ca) == ("my base", 3, "on", "/ca.pem")
    assert (options.connect_seconds, options.query_seconds, options.wait_seconds) == (1.5, 2, 0.5)
    assert (options.idle_seconds, options.age_seconds, options.lock_seconds) == (7, 8, 9)


def test_defaults() -> None:
    """What is not said has a value that serves most."""
    options = parse_url("mysql://u@h/d")
    assert (options.port, options.password, options.pool, options.tls, options.socket) == (3306, "", 10, "off", "")
    assert parse_url("mysql://u@[::1]:1/d").host == "::1"
    assert parse_url("mysql://u@[::1]:1/d").where == "[::1]:1"
    assert parse_url("mysql://u@/d?socket=/run/s").where == "/run/s"


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("postgres://u:SECRET@h/d", "mysql://"),
        ("mysql://:SECRET@h/d", "user"),
        ("mysql://u:SECRET@/d", "host"),
        ("mysql://u:SECRET@h", "database"),
        ("mysql://u:SECRET@h/", "database"),
        ("mysql://u:SECRET@h/a/b", "database"),
        ("mysql://u:SEC/RET@h/d", "port"),
        ("mysql://u:SEC#RET@h/d", "port"),
        ("mysql://u:SECRET@h:x/d", "port"),
        ("mysql://u:a@SEC?RET@h/d", "@"),
        ("mysql://u:?SECRET@h/d", "@"),
        ("mysql://u:SECRET@[::1/d", "host"),
        ("mysql://u:SECRET@h/d#x", "#"),
        ("mysql://u:SECRET@h/d?password=SECRET", "password"),
        ("mysql://u:SECRET@h/d?pool=many", "pool"),
        ("mysql://u:SECRET@h/d?pool=0", "pool"),
        ("mysql://u:SECRET@h/d?pool=1&pool=2", "pool"),
        ("mysql://u:SECRET@h/d?query_seconds=nan", "query_seconds"),
        ("mysql://u:SECRET@h/d?lock_seconds=1.5", "lock_seconds"),
        ("mysql://u:SECRET@h/d?tls=yes", "tls"),
        ("mysql://u:SECRET@h/d?tls_ca=x", "tls_ca"),
        ("mysql://u:SECRET@h/d?tls=on&socket=x", "tls"),
        ("mysql://u:SECRET@h/d?socket=", "socket"),
    ],
)
def test_mistakes_are_named(url: str, named: str) -> None:
    """The error names the part or the option, and shows neither the password nor a value."""
    with pytest.raises(QueryError) as caught:
        parse_url(url)
    assert named in str(caught.value)
    assert "SEC" not in str(caught.value)
    assert "SEC" not in redacted(url)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever stands in a configuration, there is an answer and no crash."""
    for url in (text, f"mysql://u:p@h/d?{text}", f"mysql://{text}"):
        redacted(url)
        with suppress(QueryError):
            parse_url(url)


@given(st.text(min_size=1))
def test_no_password_is_shown(password: str) -> None:
    """Neither as text of the options, nor in a redacted URL, even where it should have been encoded."""
    shown = f"<{password}>"
    options = MySQLOptions(host="h", port=1, user="u", password=shown, database="d")
    assert shown not in repr(options) + str(options) + f"{options}"
    assert redacted(f"mysql://u:{shown}@h/d") == "mysql://u:***@h/d"
