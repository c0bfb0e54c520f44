"""Whose request it is behind a proxy, and below which path."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.dashboard.proxies import Origin, is_root_path, origin_of, route_of, throttled

PROXIES = [ipaddress.ip_network(text) for text in ("10.0.0.5", "172.16.0.0/12", "fd00::/8")]


def address(peer: str, *forwarded: str) -> str:
    headers = [(b"x-forwarded-for", text.encode("latin-1")) for text in forwarded]
    origin = origin_of(peer, "http", headers, PROXIES)
    assert origin is not None
    return origin.address


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.5", ["192.168.1.7"], "192.168.1.7"),
        ("10.0.0.5", [], "10.0.0.5"),
        ("10.0.0.6", ["192.168.1.7"], "10.0.0.6"),
        ("10.0.0.5", ["1.2.3.4, 192.168.1.7"], "192.168.1.7"),
        ("10.0.0.5", ["1.2.3.4, 192.168.1.7, 172.16.0.9"], "192.168.1.7"),
        ("10.0.0.5", ["1.2.3.4", "192.168.1.7"], "192.168.1.7"),
        ("10.0.0.5", ["172.16.0.1, 172.16.0.2"], "172.16.0.1"),
        ("10.0.0.5", ["nonsense"], "10.0.0.5"),
        ("10.0.0.5", ["1.2.3.4, nonsense"], "10.0.0.5"),
        ("10.0.0.5", [", ,"], "10.0.0.5"),
        ("10.0.0.5", ["192.168.1.7:5123"], "192.168.1.7"),
        ("10.0.0.5", ['"[2001:db8::1]:5123"'], "2001:db8::1"),
        ("::ffff:10.0.0.5", ["192.168.1.7"], "192.168.1.7"),
        ("::ffff:192.168.1.7", [], "192.168.1.7"),
        ("fd00::1", ["2001:db8::1"], "2001:db8::1"),
    ],
)
def test_the_client_is_the_last_address_that_no_named_proxy_has(peer: str, forwarded: list[str], client: str):
    assert address(peer, *forwarded) == client


def test_the_scheme_is_that_of_the_browser_where_a_named_proxy_gives_it():
    headers = [(b"x-forwarded-proto", b"https")]
    assert origin_of("10.0.0.5", "http", headers, PROXIES) == Origin("10.0.0.5", "https", "")
    assert origin_of("10.0.0.6", "http", headers, PROXIES) == Origin("10.0.0.6", "http", "")
    assert origin_of("10.0.0.5", "http", [(b"x-forwarded-proto", b"gopher")], PROXIES) == Origin("10.0.0.5", "http", "")


def test_the_sub_path_is_that_of_the_configuration_else_of_a_named_proxy():
    headers = [(b"x-forwarded-prefix", b"/line1/")]
    assert origin_of("10.0.0.5", "http", headers, PROXIES) == Origin("10.0.0.5", "http", "/line1")
    assert origin_of("10.0.0.5", "http", headers, PROXIES, "/own") == Origin("10.0.0.5", "http", "/own")
    assert origin_of("10.0.0.6", "http", headers, PROXIES) == Origin("10.0.0.6", "http", "")


@pytest.mark.parametrize(
    "prefix", ["line1", "/a//b", "/../x", "/api", "/api/x", "/lib", "/a b", "//evil.example", "/%41"]
)
def test_a_sub_path_that_cannot_be_one_is_refused(prefix: str):
    assert not is_root_path(prefix)
    assert origin_of("10.0.0.5", "http", [(b"x-forwarded-prefix", prefix.encode())], PROXIES) is None


@pytest.mark.parametrize(
    ("path", "root_path", "route"),
    [
        ("/api/v1/me", "", "/api/v1/me"),
        ("/line1/api/v1/me", "/line1", "/api/v1/me"),
        ("/api/v1/me", "/line1", "/api/v1/me"),
        ("/line1/", "/line1", "/"),
        ("/line1", "/line1", None),
        ("/line10/api", "/line1", "/line10/api"),
        ("/", "/line1", "/"),
    ],
)
def test_a_route_is_the_path_below_the_sub_path_whether_or_not_the_proxy_removed_it(
    path: str, root_path: str, route: str | None
):
    assert route_of(path, root_path) == route


@pytest.mark.parametrize(
    ("client", "key"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::9", "2001:db8:1:2::/64"),
        ("", ""),
    ],
)
def test_a_customer_of_ipv6_counts_as_one_sender(client: str, key: str):
    assert throttled(client) == key


NAMES = st.sampled_from([b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-prefix"])


@given(st.lists(st.tuples(NAMES, st.binary(max_size=40))), st.text(max_size=20))
def test_no_header_of_a_stranger_changes_anything_and_none_of_a_proxy_fails(
    headers: list[tuple[bytes, bytes]], peer: str
):
    assert origin_of("192.168.1.7", "http", headers, PROXIES) == Origin("192.168.1.7", "http", "")
    origin_of("10.0.0.5", "http", headers, PROXIES)
    origin_of(peer, "http", headers, PROXIES)
