"""Certificates of two authorities, of which the workers trust one."""

from __future__ import annotations

import importlib.util
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import servers

if TYPE_CHECKING:
    from pathlib import Path

    import trustme

    from faults.fault import Scene

SERVER, KEY, TRUSTED = "server.pem", "server.key", "trusted.pem"


class Certificates:
    """Writes the server's certificate, and the one of the authority that is trusted.

    Args:
        directory: Where.
    """

    def __init__(self, directory: Path) -> None:
        import trustme  # see without_tls

        self.directory = directory
        self._trusted, self._other = trustme.CA(), trustme.CA()
        self._trusted.cert_pem.write_to_path(str(directory / TRUSTED))
        self.use_right()

    @property
    def options(self) -> list[str]:
        """What redis-server is told."""
        paths = (SERVER, KEY, TRUSTED)
        files = zip(("--tls-cert-file", "--tls-key-file", "--tls-ca-cert-file"), paths, strict=True)
        return [
            "--tls-auth-clients",
            "no",
            *(word for name, path in files for word in (name, str(self.directory / path))),
        ]

    def use_right(self) -> None:
        self._use(self._trusted)

    def use_other(self) -> None:
        self._use(self._other)

    def use_expired(self) -> None:
        self._use(self._trusted, not_after=datetime.now(UTC) - timedelta(hours=1))

    def use_of_another_host(self) -> None:
        self._use(self._trusted, "127.0.0.2")

    def _use(self, authority: trustme.CA, host: str = "127.0.0.1", **terms: Any) -> None:
        issued = authority.issue_cert(host, **terms)
        issued.private_key_pem.write_to_path(str(self.directory / KEY))
        issued.cert_chain_pems[0].write_to_path(str(self.directory / SERVER))


def other_certificate(scene: Scene) -> None:
    scene.place.certificates.use_other()


def expired_certificate(scene: Scene) -> None:
    scene.place.certificates.use_expired()


def certificate_of_another_host(scene: Scene) -> None:
    scene.place.certificates.use_of_another_host()


def right_certificate(scene: Scene) -> None:
    scene.place.certificates.use_right()


def without_tls() -> str:
    """Return why there is no TLS: a server that was built without it complains of the first option, not the second."""
    if importlib.util.find_spec("trustme") is None and not servers.missing_server_is_a_failure():
        return "there is no trustme, which makes certificates, for this Python"
    program = servers.redis_server_program()
    assert program is not None
    words = [program, "--tls-port", "0", "--port", "none"]
    run = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    return "this redis-server was built without TLS" if ">>> 'tls-port" in run.stderr else ""
