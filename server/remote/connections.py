"""Connections over which remote files are fetched: to addresses that were checked, and bounded in time as a whole."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from typing import Any, Final

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.ssl_ import create_urllib3_context

from server.remote.addresses import is_public_address, resolve

CONNECTIONS: Final = 16
"""Connections kept open to one host."""
CONNECTED_HOSTS: Final = 64
"""Hosts to which connections are kept."""


class PrivatePeerError(Exception):
    """A host whose address, or whose answering peer, is not public."""


class _TimeLimit(threading.local):
    """When the running thread's fetch must be over: a server that sends a byte now and then must not prolong it."""

    silence: float = 30.0
    deadline: float = float("inf")

    def set(self, *, silence: float, deadline: float) -> None:
        """Limit what this thread reads from now on: seconds of any silence, and a moment of the monotonic clock."""
        self.silence, self.deadline = silence, deadline

    def left(self) -> float:
        """Seconds that the next bytes may take."""
        return max(min(self.silence, self.deadline - time.monotonic()), 0.001)


time_limit: Final = _TimeLimit()


class _BoundedSocket(socket.socket):
    """A socket that waits for bytes as long as its thread's fetch may."""

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(time_limit.left())
        return super().recv_into(*args, **kwargs)


class _BoundedTLSSocket(ssl.SSLSocket):
    """The same, encrypted."""

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(time_limit.left())
        return super().recv_into(*args, **kwargs)


class _Connecting:
    """Opens sockets to addresses looked up here, not by the library: what was checked is what is connected to."""

    public = False
    """Whether only public addresses may answer."""
    _dns_host: str
    port: int
    timeout: Any
    socket_options: Any

    def _new_conn(self: Any) -> socket.socket:
        host = self.host
        addresses = resolve(host)
        if not addresses:
            raise NameResolutionError(host, self, socket.gaierror("unknown name"))
        if self.public and (private := next((ip for ip in addresses if not is_public_address(ip)), None)):
            raise PrivatePeerError(private)
        checked: socket.socket = self._checked(self._connected(addresses))
        return checked

    def _connected(self: Any, addresses: tuple[str, ...]) -> socket.socket:
        """A connection to the first address that takes one."""
        failed: OSError = OSError("no address")
        begun = time.monotonic()
        for address in addresses:
            if time.monotonic() - begun > self.timeout:
                break
            try:
                return urllib3.util.connection.create_connection(
                    (address, self.port), self.timeout, socket_options=self.socket_options
                )
            except OSError as error:
                failed = error
        if isinstance(failed, TimeoutError):
            raise ConnectTimeoutError(self, f"no connection to {self.host} within {self.timeout:g} s") from failed
        raise NewConnectionError(self, f"no connection to {self.host}: {failed}") from failed

    def _checked(self, plain: socket.socket) -> socket.socket:
        """The socket, if it ends where it may: nothing has been sent yet."""
        peer = str(plain.getpeername()[0])
        if self.public and not is_public_address(peer):
            plain.close()
            raise PrivatePeerError(peer)
        timeout = plain.gettimeout()
        bounded = _BoundedSocket(plain.family, plain.type, plain.proto, plain.detach())
        bounded.settimeout(timeout)
        return bounded


class _HTTP(_Connecting, HTTPConnection):
    pass


class _HTTPS(_Connecting, HTTPSConnection):
    pass


class _PublicHTTP(_HTTP):
    public = True


class _PublicHTTPS(_HTTPS):
    public = True


def _pool(base: Any, connection: Any) -> Any:
    return type(connection.__name__ + "Pool", (base,), {"ConnectionCls": connection})


_CONNECTIONS: Final = {False: (_HTTP, _HTTPS), True: (_PublicHTTP, _PublicHTTPS)}


def connections(*, public: bool) -> urllib3.PoolManager:
    """Kept connections to any hosts; with `public` to none whose address is not."""
    context = create_urllib3_context()
    context.load_default_certs()
    context.sslsocket_class = _BoundedTLSSocket
    manager = urllib3.PoolManager(num_pools=CONNECTED_HOSTS, maxsize=CONNECTIONS, ssl_context=context)
    plain, secure = _CONNECTIONS[public]
    manager.pool_classes_by_scheme = {
        "http": _pool(HTTPConnectionPool, plain),
        "https": _pool(HTTPSConnectionPool, secure),
    }
    return manager
