"""Which addresses a provider's name may lead to.

The operator writes a provider's base URL; whoever runs that name's zone decides, anew at every look-up, to which address prompts
and a credential are sent. So each address is judged when it is connected to, and what is judged is what is connected to:

    address                             written in the URL   a local name   a public name
    public                              yes                  yes            yes
    private                             yes                  yes            yes, until the name is seen at a public address
    this machine                        yes                  yes            no
    link-local, metadata of a cloud,    no                   no             no
      unspecified, multicast, reserved

A name is local if it has no dot or ends in a domain that is never public (`localhost`, `.internal`, `.local`, ...). Private and
public addresses in one answer are told apart too: of a name that is seen at both, only the public ones are used. An IPv6 address
that leads on to an IPv4 one (mapped, NAT64, 6to4, Teredo) is judged by that one. `allow_addresses` of the provider allows what
this table does not.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.base.addresses import Networks, Reach, packed, reach

LOCAL_DOMAINS = frozenset(
    # RFC 6761, 6762, 8375, 9476; ICANN's `internal`; and what RFC 6762 appendix G found in use
    ("localhost", "local", "internal", "home.arpa", "alt", "test", "intranet", "private", "corp", "home", "lan")
)


def is_local_name(host: str) -> bool:
    """Whether no public zone can define a name: it has no dot, or ends in a domain that is nobody's."""
    labels = host.lower().rstrip(".").split(".")
    return len(labels) == 1 or labels[-1] in LOCAL_DOMAINS or ".".join(labels[-2:]) in LOCAL_DOMAINS


def is_address(host: str) -> bool:
    try:
        packed(host)
    except ValueError:
        return False
    return True


class AddressGuard:
    """Judges the addresses of one host.

    Args:
        provider: its name, for messages.
        host: as the operator wrote it.
        allowed: what the operator allows beyond the rule.
        public_names: the names that were seen at a public address; shared by the guards of a process, which add to it.
        chosen: this host is of the operator's own network, whatever it is called (a proxy).
    """

    def __init__(
        self, provider: str, host: str, allowed: Networks, public_names: set[str], *, chosen: bool = False
    ) -> None:
        self._provider = provider
        self._host = host
        self._allowed = allowed
        self._public_names = public_names
        self._most = Reach.LOOPBACK if chosen or is_address(host) or is_local_name(host) else Reach.PRIVATE

    def look_at(self, addresses: Iterable[str]) -> None:
        """Learns from what the name resolves to now."""
        if any(reach(packed(address))[0] is Reach.PUBLIC for address in addresses):
            self._public_names.add(self._host)

    def refusal(self, address: str) -> str | None:
        """Why the address is not connected to; None where it may be."""
        at = packed(address)
        found, what = reach(at)
        if found is Reach.PUBLIC or at in self._allowed:
            return None
        rebound = self._most is Reach.PRIVATE and self._host in self._public_names
        if found <= self._most and not rebound:
            return None
        where = f"{address} ({what})"
        if self._host != address:
            where = f"{where}, to which {self._host!r} resolves{' now, a name of public addresses' if rebound else ''},"
        return f"{where} is not connected to; providers.{self._provider}.allow_addresses would allow it"
