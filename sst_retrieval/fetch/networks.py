"""Which addresses may be asked: https, and nothing inside private networks, unless it is allowed.

A table is written by somebody else. An address in it must not make this computer ask a server that only this computer
can reach (server-side request forgery). So a name is resolved first, every address it has is checked, and the
connection goes to a checked address: resolved once more, the name could mean another.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from sst_retrieval.errors import FetchError

SCHEMES = ("https", "http")
DEFAULT_PORTS = {"https": 443, "http": 80}

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class WebAddress:
    """A web address in its parts.

    Attributes:
        scheme: https or http.
        host: in lower case, as the DNS has it.
        port: of the server.
        target: path and query, percent-encoded.
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> str:
        """Scheme, host and, unless it is the usual one, port: whom a limit or a robots.txt is about."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{name}{port}"

    def __str__(self) -> str:
        """Return the whole address."""
        return self.origin + self.target


def parse_address(text: str, *, allow_http: bool, base: WebAddress | None = None) -> WebAddress:
    """Split a web address into its parts.

    Plain http is asked as https, unless it is allowed: many tables have old addresses whose servers answer to both.

    >>> str(parse_address("http://museum.example/a b.jpg#top", allow_http=False))
    'https://museum.example/a%20b.jpg'

    Args:
        text: the address.
        allow_http: whether plain http may be asked.
        base: the address that a relative one belongs to: a redirect's.

    Raises:
        FetchError: it is no address of a web server, or holds a password.
    """
    try:
        parts = urlsplit(urljoin(str(base), text.strip()) if base is not None else text.strip())
        port = parts.port
    except ValueError as error:
        raise FetchError(f"{text!r} is no web address ({error})") from error
    scheme = parts.scheme.lower()
    if scheme not in SCHEMES or not parts.hostname:
        raise FetchError(f"{text!r} is no address of a web server (https://...)")
    if parts.username is not None or parts.password is not None:
        raise FetchError(f"the address of {parts.hostname} holds a user name or a password; remove it from the table")
    if scheme == "http" and not allow_http:
        if base is not None and base.scheme == "https":
            raise FetchError(f"{base} leads to plain http ({text}); allow it with --allow-http (allow_http=True)")
        scheme, port = "https", None if port in (None, 80) else port
    try:
        host = parts.hostname.encode("idna").decode().lower() if not parts.hostname.isascii() else parts.hostname
    except UnicodeError as error:
        raise FetchError(f"{text!r}: {parts.hostname} can be no name of a computer") from error
    # Safe: what may stand in an address as it is; "%" because it is encoded already.
    path, query = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._"), quote(parts.query, safe="/%:@!$&'()*+,;=?~-._")
    return WebAddress(scheme, host.lower(), port or DEFAULT_PORTS[scheme], urlunsplit(("", "", path, query, "")))


def resolve(address: WebAddress, *, allow_private: bool) -> list[str]:
    """Resolve the name of a server, and check every address it has.

    Returns:
        IP addresses, in the order in which they should be tried.

    Raises:
        FetchError: one of them is not on the public internet.
        OSError: the name cannot be resolved.
    """
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    numbers = list(dict.fromkeys(str(each[4][0]) for each in found))
    inside = [number for number in numbers if not is_public(number)]
    if inside and not allow_private:
        number = "" if address.host == inside[0] else f" is {inside[0]},"
        raise FetchError(
            f"{address.host}{number or ' is'} inside a private network; if it is your own server, allow it with "
            f"--allow-private (allow_private=True)"
        )
    return numbers


def is_public(number: str) -> bool:
    """Say whether an IP address is on the public internet.

    >>> [is_public(each) for each in ("8.8.8.8", "10.0.0.1", "127.0.0.1", "::ffff:192.168.1.1", "169.254.169.254")]
    [True, False, False, False, False]
    """
    address = ipaddress.ip_address(number.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        # Addresses of version 4 in clothes of version 6.
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if address.is_site_local or address.teredo is not None:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved
