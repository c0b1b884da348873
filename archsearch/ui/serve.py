"""Who serves the pages: an address of this machine, a browser on it, and an end by Ctrl-C."""

from __future__ import annotations

import socket
import webbrowser
from contextlib import suppress
from importlib.util import find_spec
from ipaddress import ip_address
from threading import Timer

from archsearch.errors import InvalidInputError, UnsupportedError

FIRST_PORT = 8421
PORTS = 50
"""How many ports are tried from there on where none was named."""


def require_page() -> None:
    """Refuse to serve the page where its library is not installed.

    Raises:
        UnsupportedError: NiceGUI is not there; the text says how to get it.
    """
    if find_spec("nicegui") is None:
        raise UnsupportedError("the what-if page needs NiceGUI: pip install 'archsearch[ui]'")


def free_port(host: str, port: int | None) -> int:
    """A port that can be listened on: the one named (0: any), else the first free one from ``FIRST_PORT`` on.

    Raises:
        InvalidInputError: the named port is taken, none is free, or the host is no address of this machine.
    """
    candidates = range(FIRST_PORT, FIRST_PORT + PORTS) if port is None else (port,)
    reason = ""
    for candidate in candidates:
        try:
            with socket.create_server((host, candidate)) as found:
                return int(found.getsockname()[1])
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
    tried = f"{{port}} {port}" if port is not None else f"ports {FIRST_PORT} to {FIRST_PORT + PORTS - 1}"
    raise InvalidInputError(f"{tried} on {{host}} {host}: {reason}; choose another", field=("port", "host"))


def is_loopback(host: str) -> bool:
    """Whether an address is of this machine alone."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def names_of(host: str) -> tuple[str, ...]:
    """What a browser may call a server that listens on this machine alone; anything where it listens elsewhere.

    A page from the network whose name leads to this machine could else read and change what is served here.
    """
    return ("localhost", "127.0.0.1", "[::1]", host) if is_loopback(host) else ("*",)


def url_of(host: str, port: int) -> str:
    """The address to open: a host that means every interface is reached by this machine's own."""
    name = "127.0.0.1" if host == "0.0.0.0" else "[::1]" if host == "::" else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/"


def open_browser(url: str, after_s: float = 1.0) -> None:
    """Open a page on this machine a moment later, when its server answers."""
    opening = Timer(after_s, webbrowser.open, (url,))
    opening.daemon = True
    opening.start()


def serve_what_if(model: str | None, gpu: str | None, host: str, port: int) -> None:
    """Serve the what-if page until interrupted."""
    from nicegui import app, ui
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from archsearch.ui.page import TITLE, register

    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(names_of(host)))
    register(model, gpu)
    with suppress(KeyboardInterrupt):
        ui.run(
            host=host,
            port=port,
            title=TITLE,
            dark=None,
            reload=False,
            show=False,
            show_welcome_message=False,
            tailwind=False,
        )
