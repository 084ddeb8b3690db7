"""The URL of a Redis: its forms, what is wrong with others, and no password anywhere."""

from __future__ import annotations

import pytest

from gateway.base.redis_url import MAX_HOSTS, RedisUrl, parse

GOOD: list[tuple[str, RedisUrl]] = [
    ("redis://h", RedisUrl("server", (("h", 6379),))),
    ("redis://h:7/3", RedisUrl("server", (("h", 7),), db=3)),
    ("redis://:p%40ss@h", RedisUrl("server", (("h", 6379),), password="p@ss")),
    ("redis://u:p@[::1]:7", RedisUrl("server", (("::1", 7),), username="u", password="p")),
    ("rediss://h", RedisUrl("server", (("h", 6379),), tls=True)),
    (
        "rediss://h?ssl_ca_certs=/ca.pem&ssl_check_hostname=false",
        RedisUrl("server", (("h", 6379),), tls=True, ssl_ca_certs="/ca.pem", ssl_check_hostname=False),
    ),
    ("unix:///run/r.sock", RedisUrl("server", path="/run/r.sock")),
    ("unix://u:p@/run/r.sock?db=2", RedisUrl("server", path="/run/r.sock", db=2, username="u", password="p")),
    ("redis+sentinel://a,b:7/main", RedisUrl("sentinel", (("a", 26379), ("b", 7)), service="main")),
    (
        "rediss+sentinel://u:p@a/main/4?sentinel_username=w&sentinel_password=x",
        RedisUrl(
            "sentinel",
            (("a", 26379),),
            service="main",
            db=4,
            username="u",
            password="p",
            tls=True,
            sentinel_username="w",
            sentinel_password="x",
        ),
    ),
    ("redis+cluster://a:1,b:2,c", RedisUrl("cluster", (("a", 1), ("b", 2), ("c", 6379)))),
]
BAD = [
    ("http://h", "begins with one of redis://"),
    ("redis:h", "begins with one of redis://"),
    ("redis://", "host or port"),
    ("redis://h:0", "host or port"),
    ("redis://h:x", "host or port"),
    ("redis://h:99999", "host or port"),
    ("redis://a,b", "at most 1"),
    ("redis://secret@h", "a user without a password"),
    ("redis://h/x", "its path is no database"),
    ("redis://h/1/2", "its path is no database"),
    ("redis://h/65536", "its path is no database"),
    ("redis://h?db=1", "db has no meaning here"),
    ("redis://h?ssl_ca_certs=/x", "has no meaning here; it is for TLS"),
    ("rediss://h?ssl_cert_reqs=none", "an option that is not known"),
    ("rediss://h?ssl_ca_certs=", "is empty or stands twice"),
    ("rediss://h?ssl_ca_certs=/a&ssl_ca_certs=/b", "is empty or stands twice"),
    ("rediss://h?ssl_check_hostname=no", "neither true nor false"),
    ("redis://h?nonsense", "options are malformed"),
    ("redis://h/0#x", "characters that no URL has"),
    ("redis://h h", "characters that no URL has"),
    ("unix://run/r.sock", "unix:///absolute/path"),
    ("redis+sentinel://a", "names no service"),
    ("redis+sentinel://a/b/1/2", "names no service"),
    ("redis+cluster://a/1", "one database"),
    ("redis+cluster://" + ",".join("h" * (MAX_HOSTS + 1)), f"at most {MAX_HOSTS}"),
]


@pytest.mark.parametrize(("text", "url"), GOOD, ids=[text for text, _ in GOOD])
def test_a_url_is_taken_apart(text: str, url: RedisUrl) -> None:
    assert parse(text) == url


@pytest.mark.parametrize(("text", "says"), BAD, ids=[text[:40] for text, _ in BAD])
def test_what_is_no_url_is_refused_with_what_would_be_right(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        parse(text)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("text", [text for text, _ in GOOD])
def test_what_is_shown_can_be_read_again_and_holds_no_credential(text: str) -> None:
    url = parse(text)
    for shown in (str(url), repr(url), f"{url}"):
        assert parse(shown).hosts == url.hosts
        assert (parse(shown).form, parse(shown).tls, parse(shown).path) == (url.form, url.tls, url.path)
        assert "@" not in shown
        assert "?" not in shown
