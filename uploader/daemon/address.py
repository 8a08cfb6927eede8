"""Where the daemon may be watched: loopback or a unix socket, nowhere else."""

from __future__ import annotations

import os
import secrets
import socket
import stat
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from uploader.errors import UsageError


@dataclass(frozen=True, slots=True)
class Address:
    """A port on loopback, or the path of a socket."""

    host: str = ""
    port: int = 0
    socket: Path | None = None


def parse_address(text: str) -> Address:
    """`127.0.0.1:8080`, `[::1]:8080`, `localhost:8080` or `unix:/path`.

    Raises `ValueError`.
    """
    if text.startswith("unix:"):
        path = Path(text.removeprefix("unix:"))
        if not path.is_absolute():
            raise ValueError(f"listen must name an absolute path, not {text}")
        return Address(socket=path)
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"listen must be 127.0.0.1:PORT or unix:PATH, not {text}")
    if host == "localhost":
        host = "127.0.0.1"
    try:
        is_loopback = ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise ValueError(
            f"listen must be on loopback or a unix socket, not {text}; a proxy can"
            " bring it elsewhere"
        )
    return Address(host=host, port=int(port))


def hosts_of(port: int) -> frozenset[str]:
    """What a browser on this machine may call us; another name is DNS rebinding."""
    names = ("127.0.0.1", "localhost", "[::1]")
    bare = names if port == 80 else ()
    return frozenset([*(f"{name}:{port}" for name in names), *bare])


def bound(path: Path) -> socket.socket:
    """A socket at *path*, for its owner alone, in a folder of the same kind."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = path.parent.stat()
    if stat.S_IMODE(folder.st_mode) & 0o077 or folder.st_uid != os.getuid():
        raise UsageError(
            f"{path.parent} is open to others",
            hint=f"chmod 700 {path.parent}, or name a folder of its own",
        )
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        # The folder keeps others out until the mode is right.
        line.bind(str(path))
        path.chmod(0o600)
    except OSError as error:
        line.close()
        raise UsageError(f"unix:{path}: {error.strerror}") from None
    return line


def _remove_stale(path: Path) -> None:
    """Remove the socket of a daemon that died; that of a living one stays."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink()


def read_token(file: Path) -> str:
    """The token in *file*; a new one is written if there is none.

    Raises `UsageError`.
    """
    try:
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _token_in(file)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    with os.fdopen(fd, "w") as made:
        token = new_token()
        made.write(f"{token}\n")
    return token


def new_token() -> str:
    return secrets.token_urlsafe(32)


def _token_in(file: Path) -> str:
    try:
        with file.open() as found:
            mode = stat.S_IMODE(os.fstat(found.fileno()).st_mode)
            token = found.read(1024).strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: {error}") from None
    if mode & 0o077:
        raise UsageError(f"{file} can be read by others", hint=f"chmod 600 {file}")
    if len(token) < 16 or not token.isascii():
        raise UsageError(f"{file} holds no token", hint="remove it; a new one is made")
    return token
