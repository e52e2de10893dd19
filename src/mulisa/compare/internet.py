"""An internet of network namespaces: public hosts, and homes behind NATs of every kind.

Everything is torn down at the end, whatever happened. It takes root and the tools `ip` and `nft`.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from mulisa.compare.namespaces import INTERFACE, CommandFailed, Namespace, run_command
from mulisa.compare.ways import Nat
from mulisa.core.errors import ConfigError

PUBLIC: Final = ipaddress.ip_network("198.51.100.0/24")
"""Of hosts and NATs; reserved for documentation (RFC 5737), so it is nobody's."""
PUBLIC_V6: Final = ipaddress.ip_network("2001:db8:51::/64")
BACKBONE: Final = "br0"
LAN: Final = "lan0"
NEAR: Final = "near0"
"""Of a wire, towards its host."""
FAR: Final = "far0"

_FIRST_NAT: Final = 100
_MAPPINGS: Final[dict[Nat, str]] = {
    "full-cone": "snat to {public}",
    "port-restricted": "masquerade",
    "symmetric": "masquerade random,fully-random",
    "udp-blocked": "masquerade",
}
_RULES: Final = """
table ip nat {{
  chain prerouting {{
    type nat hook prerouting priority dstnat
    {inbound}
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat
    oifname {wan} {mapping}
  }}
}}
table ip filter {{
  chain input {{
    type filter hook input priority filter
    iifname {wan} drop
  }}
  chain forward {{
    type filter hook forward priority filter
    {forward}
    iifname {wan} ct state != {{ established, related{new} }} drop
  }}
}}
"""
"""What comes unasked is dropped without a word, before it would take the port of a mapping."""


class Internet:
    """A backbone and what is connected to it."""

    def __init__(self) -> None:
        self._prefix = f"mulisa-{os.getpid()}"
        self._names: list[str] = []
        self._homes = 0
        self._backbone = self._namespace("backbone")
        self._in(self._backbone, f"link add {BACKBONE} type bridge")
        self._in(self._backbone, f"link set {BACKBONE} up")
        for network in (PUBLIC, PUBLIC_V6):
            self._in(self._backbone, f"addr add {network[1]}/{network.prefixlen} dev {BACKBONE}")
        run_command(*self._exec(self._backbone), "sysctl", "-qw", "net.ipv4.ip_forward=1")

    def host(self, name: str, number: int) -> Namespace:
        """A host with the public addresses of this number (2 to 99)."""
        inside = self._namespace(name)
        address = self._connect(inside, number)
        return Namespace(inside, address, self._address_v6(inside, number))

    def host_on_a_wire(self, name: str, number: int) -> tuple[Namespace, Namespace]:
        """A public host, and what lies between it and the internet: passes nothing by itself."""
        inside, wire = self._namespace(name), self._namespace(f"{name}-wire")
        run_command(*self._exec(wire), "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
        peer = f"peer name {NEAR} netns {wire}"
        run_command("ip", *f"link add {INTERFACE} netns {inside} type veth {peer}".split())
        self._cable(wire, FAR, self._backbone, f"port{number}", BACKBONE)
        self._in(wire, f"link set {NEAR} up")
        self._in(inside, f"link set {INTERFACE} up")
        address, address_v6 = self._address(inside, number), self._address_v6(inside, number)
        return Namespace(inside, address, address_v6), Namespace(wire, "")

    def host_v6(self, name: str, number: int) -> Namespace:
        """A host with IPv6 alone."""
        inside = self._namespace(name)
        self._cable(inside, INTERFACE, self._backbone, f"port{number}", BACKBONE)
        return Namespace(inside, self._address_v6(inside, number))

    def home(self, nat: Nat, people: int = 1) -> list[Namespace]:
        """Hosts in one private network behind a NAT of this kind."""
        self._homes += 1
        number = self._homes
        router = self._namespace(f"nat{number}")
        public = self._connect(router, _FIRST_NAT + number)
        run_command(*self._exec(router), "sysctl", "-qw", "net.ipv4.ip_forward=1")
        self._in(router, f"link add {LAN} type bridge")
        self._in(router, f"addr add 192.168.{number}.1/24 dev {LAN}")
        self._in(router, f"link set {LAN} up")
        inside = [self._at_home(router, number, person) for person in range(2, people + 2)]
        run_command(
            *self._exec(router), "nft", "-f", "-", given=_rules(nat, public, inside[0].address)
        )
        return inside

    def move(self, home: Namespace) -> None:
        """The NAT of this home, one that masquerades, gets another public address.

        Its mappings are forgotten, so whatever comes for the former ones is lost.
        """
        number = int(home.address.split(".")[2])
        router = f"{self._prefix}-nat{number}"
        former, present = PUBLIC[100 + number], PUBLIC[150 + number]
        self._in(router, f"addr del {former}/{PUBLIC.prefixlen} dev {INTERFACE}")
        self._in(router, f"addr add {present}/{PUBLIC.prefixlen} dev {INTERFACE}")
        self._in(router, f"route replace default via {PUBLIC[1]}")

    def public_address(self, inhabitant: Namespace) -> str:
        """Of the NAT in front of them."""
        return str(PUBLIC[_FIRST_NAT + int(inhabitant.address.split(".")[2])])

    def close(self) -> None:
        """End what still runs there, and remove it all."""
        for name in self._names:
            _remove(name)

    def _at_home(self, router: str, home: int, person: int) -> Namespace:
        inside = self._namespace(f"home{home}-{person}")
        address = f"192.168.{home}.{person}"
        self._cable(inside, INTERFACE, router, f"port{person}", LAN)
        self._in(inside, f"addr add {address}/24 dev {INTERFACE}")
        self._in(inside, f"route add default via 192.168.{home}.1")
        return Namespace(inside, address)

    def _connect(self, inside: str, number: int) -> str:
        """To the backbone; its address there."""
        self._cable(inside, INTERFACE, self._backbone, f"port{number}", BACKBONE)
        return self._address(inside, number)

    def _address(self, inside: str, number: int) -> str:
        address = str(PUBLIC[number])
        self._in(inside, f"addr add {address}/{PUBLIC.prefixlen} dev {INTERFACE}")
        self._in(inside, f"route add default via {PUBLIC[1]}")
        return address

    def _address_v6(self, inside: str, number: int) -> str:
        address = str(PUBLIC_V6[number])
        self._in(inside, f"-6 addr add {address}/{PUBLIC_V6.prefixlen} dev {INTERFACE} nodad")
        self._in(inside, f"-6 route add default via {PUBLIC_V6[1]}")
        return address

    def _cable(self, inside: str, interface: str, outside: str, port: str, bridge: str) -> None:
        peer = f"peer name {port} netns {outside}"
        run_command("ip", *f"link add {interface} netns {inside} type veth {peer}".split())
        self._in(outside, f"link set {port} master {bridge} up")
        self._in(inside, f"link set {interface} up")

    def _namespace(self, name: str) -> str:
        full = f"{self._prefix}-{name}"
        run_command("ip", "netns", "add", full)
        self._names.append(full)
        self._in(full, "link set lo up")
        return full

    def _in(self, namespace: str, command: str) -> None:
        run_command("ip", "-n", namespace, *command.split())

    def _exec(self, namespace: str) -> tuple[str, ...]:
        return ("ip", "netns", "exec", namespace)


@contextmanager
def internet() -> Iterator[Internet]:
    """One until the block ends. Raises ConfigError that says what is missing."""
    if reason := why_not():
        raise ConfigError(reason)
    _clear_away()
    made: Internet | None = None
    try:
        made = Internet()
        yield made
    finally:
        if made is not None:
            made.close()


def _clear_away() -> None:
    """What is left of runs that were killed."""
    for line in run_command("ip", "netns", "list").splitlines():
        name = line.split()[0]
        owner = re.match(r"mulisa-(\d+)-", name)
        if owner and not Path("/proc", owner[1]).exists():
            _remove(name)


def _remove(name: str) -> None:
    for pid in run_command("ip", "netns", "pids", name).split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    run_command("ip", "netns", "delete", name)


def why_not() -> str:
    """What keeps this machine from having one, and how to mend that; empty if nothing does."""
    if os.geteuid() != 0:
        return "network namespaces need root: run it with sudo"
    for tool in ("ip", "nft"):
        if shutil.which(tool) is None:
            return f"network namespaces need the program {tool}: apt-get install iproute2 nftables"
    probe = f"mulisa-{os.getpid()}-probe"
    rules = _rules("symmetric", "198.51.100.2", "192.168.0.2")
    try:
        run_command("ip", "netns", "add", probe)
        try:
            run_command("ip", "-n", probe, *"link add br0 type bridge".split())
            run_command("ip", "netns", "exec", probe, "nft", "-f", "-", given=rules)
        finally:
            run_command("ip", "netns", "delete", probe)
    except CommandFailed as error:
        return f"no network namespaces with NAT here: {error}"
    return ""


def _rules(nat: Nat, public: str, inside: str) -> str:
    is_open = nat == "full-cone"
    return _RULES.format(
        wan=INTERFACE,
        inbound=f"iifname {INTERFACE} dnat to {inside}" if is_open else "",
        mapping=_MAPPINGS[nat].format(public=public),
        forward="meta l4proto udp drop" if nat == "udp-blocked" else "",
        new=", new" if is_open else "",
    )
