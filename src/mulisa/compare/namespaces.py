"""Hosts of their own on this machine: network namespaces, their packets, and what runs there.

They take root and the tools `ip` and `nft`; `internet.internet` connects them.
"""

from __future__ import annotations

import ctypes
import re
import shlex
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mulisa.core.errors import MulisaError

INTERFACE: Final = "eth0"
"""Of every host, and of a NAT towards the internet."""

_CLONE_NEWNET: Final = 0x40000000


class CommandFailed(MulisaError):
    """What was run, and what it complains of."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """A host of its own."""

    name: str
    address: str
    """Of its interface: IPv4, unless it has IPv6 alone."""
    address_v6: str = ""
    """Empty for who has none."""

    @property
    def prefix(self) -> tuple[str, ...]:
        """What runs a command there."""
        return ("ip", "netns", "exec", self.name)

    @property
    def addresses(self) -> list[tuple[str, str]]:
        """With their families, as `nft` calls them."""
        known = filter(None, (self.address, self.address_v6))
        return [("ip6" if ":" in address else "ip", address) for address in known]

    def run(self, *command: str, given: str = "") -> str:
        """What it prints. Raises CommandFailed."""
        return run_command(*self.prefix, *command, given=given)

    def socket(
        self, kind: socket.SocketKind, family: socket.AddressFamily = socket.AF_INET
    ) -> socket.socket:
        """A socket of this host, for us."""
        with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{self.name}") as there:
            _enter(there.fileno())
            try:
                return socket.socket(family, kind)
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
                for family, address in other.addresses
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
            for family, address in other.addresses
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

    def unthrottle(self) -> None:
        """Send as fast as may be again; only after `throttle`."""
        self.run("tc", "qdisc", "delete", "dev", INTERFACE, "root")


def run_command(*command: str, given: str = "") -> str:
    """What it prints. Raises CommandFailed."""
    done = subprocess.run(command, input=given, text=True, capture_output=True)
    if done.returncode:
        raise CommandFailed(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def program_in(namespace: Namespace, program: str, folder: Path) -> str:
    """Path of a script that runs the program there, for those who take nothing but a path."""
    script = folder / f"{Path(program).name}-{namespace.name}"
    script.write_text(f'#!/bin/sh\nexec {shlex.join([*namespace.prefix, program])} "$@"\n')
    script.chmod(0o755)
    return str(script)


def _enter(namespace: int) -> None:
    """Of this thread; sockets that are made from now on are there, and stay there."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
