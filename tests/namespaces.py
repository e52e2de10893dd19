"""An internet of network namespaces: public hosts, and homes behind NATs of every kind.

Everything is torn down at the end, whatever happened. It takes root and the tools `ip` and `nft`;
tests are skipped, with the reason, where that is not to be had (as in many containers).
"""

from __future__ import annotations

import ctypes
import ipaddress
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

import pytest

Nat: TypeAlias = Literal["full-cone", "port-restricted", "symmetric", "udp-blocked"]

PUBLIC: Final = ipaddress.ip_network("198.51.100.0/24")
"""Of hosts and NATs; reserved for documentation (RFC 5737), so it is nobody's."""
PUBLIC_V6: Final = ipaddress.ip_network("2001:db8:51::/64")
BACKBONE: Final = "br0"
INTERFACE: Final = "eth0"
"""Of every host, and of a NAT towards the internet."""
LAN: Final = "lan0"

_FIRST_NAT: Final = 100
_CLONE_NEWNET: Final = 0x40000000
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


@dataclass(frozen=True, slots=True)
class Namespace:
    """A host of its own."""

    name: str
    address: str
    """Of its interface: IPv4, unless it has IPv6 alone."""

    @property
    def prefix(self) -> tuple[str, ...]:
        """What runs a command there."""
        return ("ip", "netns", "exec", self.name)

    def run(self, *command: str, given: str = "") -> str:
        """What it prints. Raises CommandFailed."""
        return _run(*self.prefix, *command, given=given)

    def socket(self, kind: socket.SocketKind) -> socket.socket:
        """A socket of this host, for us."""
        with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{self.name}") as there:
            _enter(there.fileno())
            try:
                return socket.socket(socket.AF_INET, kind)
            finally:
                _enter(home.fileno())

    def lose(self, fraction: float) -> None:
        """From now on so much (0 to 1) of the IP packets each way vanishes; 0 ends that."""
        share = round(fraction * 1000)
        rule = f"numgen random mod 1000 <= {share - 1} drop" if share else "accept"
        chains = "".join(
            f"chain {way} {{\ntype filter hook {way} priority raw\n{rule}\n}}\n"
            for way in ("input", "output")
        )
        table = "table inet loss"
        self.run("nft", "-f", "-", given=f"{table}\ndelete {table}\n{table} {{\n{chains}}}\n")

    def cut(self, *others: Namespace, media_only: bool = False) -> None:
        """From now on no UDP goes to these hosts or comes from them; with none that ends.

        `media_only`: RTP and RTCP alone, by the first two bits (RFC 7983, 7).
        """
        which = f"meta l4proto udp {'@th,64,2 2 ' if media_only else ''}"
        rules = {
            end: "".join(
                f"{which}{family} {end}addr {address} drop\n"
                for other in others
                for family, address in (("ip", other.address), ("ip6", _v6_of(other.address)))
            )
            for end in ("s", "d")
        }
        chains = "".join(
            f"chain {way} {{\ntype filter hook {way} priority raw\n{rules[end]}}}\n"
            for way, end in (("input", "s"), ("output", "d"))
        )
        table = "table inet cut"
        self.run("nft", "-f", "-", given=f"{table}\ndelete {table}\n{table} {{\n{chains}}}\n")

    def watch(self, *others: Namespace) -> None:
        """Count from now on the datagrams to these hosts."""
        rules = "".join(
            f"{family} daddr {address} meta l4proto udp counter name datagrams\n"
            for other in others
            for family, address in (("ip", other.address), ("ip6", _v6_of(other.address)))
        )
        chain = f"chain output {{\ntype filter hook output priority raw\n{rules}}}\n"
        table = f"table inet watch {{\ncounter datagrams {{}}\n{chain}}}\n"
        self.run("nft", "-f", "-", given=table)

    def watched(self) -> int:
        """How many datagrams these were."""
        counted = self.run("nft", "list", "counter", "inet", "watch", "datagrams")
        found = re.search(r"packets (\d+)", counted)
        assert found is not None, counted
        return int(found[1])

    def throttle(self, kbit_per_second: int, latency_ms: int = 200) -> None:
        """Send no faster from now on; a packet that would wait longer is dropped."""
        rate = ("rate", f"{kbit_per_second}kbit", "burst", "4kb", "latency", f"{latency_ms}ms")
        self.run("tc", "qdisc", "replace", "dev", INTERFACE, "root", "tbf", *rate)


class CommandFailed(Exception):
    """What was run, and what it complains of."""


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
        _run(*self._exec(self._backbone), "sysctl", "-qw", "net.ipv4.ip_forward=1")

    def host(self, name: str, number: int) -> Namespace:
        """A host with the public addresses of this number (2 to 99)."""
        inside = self._namespace(name)
        address = self._connect(inside, number)
        self._address_v6(inside, number)
        return Namespace(inside, address)

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
        _run(*self._exec(router), "sysctl", "-qw", "net.ipv4.ip_forward=1")
        self._in(router, f"link add {LAN} type bridge")
        self._in(router, f"addr add 192.168.{number}.1/24 dev {LAN}")
        self._in(router, f"link set {LAN} up")
        inside = [self._at_home(router, number, person) for person in range(2, people + 2)]
        _run(*self._exec(router), "nft", "-f", "-", given=_rules(nat, public, inside[0].address))
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
        address = str(PUBLIC[number])
        self._cable(inside, INTERFACE, self._backbone, f"port{number}", BACKBONE)
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
        _run("ip", *f"link add {interface} netns {inside} type veth {peer}".split())
        self._in(outside, f"link set {port} master {bridge} up")
        self._in(inside, f"link set {interface} up")

    def _namespace(self, name: str) -> str:
        full = f"{self._prefix}-{name}"
        _run("ip", "netns", "add", full)
        self._names.append(full)
        self._in(full, "link set lo up")
        return full

    def _in(self, namespace: str, command: str) -> None:
        _run("ip", "-n", namespace, *command.split())

    def _exec(self, namespace: str) -> tuple[str, ...]:
        return ("ip", "netns", "exec", namespace)


@contextmanager
def internet() -> Iterator[Internet]:
    """One for a test, which is skipped where namespaces are not to be had."""
    if reason := _why_not():
        pytest.skip(reason)
    _clear_away()
    made: Internet | None = None
    try:
        made = Internet()
        yield made
    finally:
        if made is not None:
            made.close()


def _v6_of(address: str) -> str:
    """The IPv6 address of the host with this public one."""
    return str(PUBLIC_V6[int(address.rpartition(".")[2])])


def _clear_away() -> None:
    """What is left of test runs that were killed."""
    for line in _run("ip", "netns", "list").splitlines():
        name = line.split()[0]
        owner = re.match(r"mulisa-(\d+)-", name)
        if owner and not Path("/proc", owner[1]).exists():
            _remove(name)


def _remove(name: str) -> None:
    for pid in _run("ip", "netns", "pids", name).split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    _run("ip", "netns", "delete", name)


def _why_not() -> str:
    if os.geteuid() != 0:
        return "network namespaces need root"
    for tool in ("ip", "nft"):
        if shutil.which(tool) is None:
            return f"network namespaces need the program {tool}: apt-get install iproute2 nftables"
    probe = f"mulisa-{os.getpid()}-probe"
    rules = _rules("symmetric", "198.51.100.2", "192.168.0.2")
    try:
        _run("ip", "netns", "add", probe)
        try:
            _run("ip", "-n", probe, *"link add br0 type bridge".split())
            _run("ip", "netns", "exec", probe, "nft", "-f", "-", given=rules)
        finally:
            _run("ip", "netns", "delete", probe)
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


def _run(*command: str, given: str = "") -> str:
    done = subprocess.run(command, input=given, text=True, capture_output=True)
    if done.returncode:
        raise CommandFailed(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _enter(namespace: int) -> None:
    """Of this thread; sockets that are made from now on are there, and stay there."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def program_in(namespace: Namespace, program: str, folder: Path) -> str:
    """Path of a script that runs the program there, for those who take nothing but a path."""
    script = folder / f"{Path(program).name}-{namespace.name}"
    script.write_text(f'#!/bin/sh\nexec {" ".join(namespace.prefix)} {program} "$@"\n')
    script.chmod(0o755)
    return str(script)
