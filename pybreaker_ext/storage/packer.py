"""Our own commands as bytes for the socket: what is the same in each of a circuit's commands is packed once.

redis-py packs a command argument by argument, in Python: ten of them in ours, of which only the last
two ever change. Its connections take another packer instead of their own (`command_packer`).
"""

from __future__ import annotations

import contextlib
from typing import Any, Final

from redis.connection import Encoder, PythonRespSerializer  # type: ignore[attr-defined]
from redis.utils import HIREDIS_AVAILABLE

#: Circuits whose commands are remembered; then the oldest is forgotten.
REMEMBERED: Final = 1000

#: Bytes above which redis-py doesn't copy an argument, but sends it by itself.
LARGE: Final = 6000


class Packer:
    """Packs what redis-py's connections send.

    Args:
        encode: Returns an argument as bytes.
    """

    def __init__(self, encode: Any) -> None:
        self._plain: Any = PythonRespSerializer(LARGE, encode)
        self._beginnings: dict[tuple[Any, ...], bytes] = {}

    def pack(self, *args: Any) -> list[bytes]:
        """Return a command as Redis's protocol has it."""
        first, last = args[-2:] if args[0] == "EVALSHA" else (None, None)
        if type(first) is not bytes or type(last) is not bytes:
            packed: list[bytes] = self._plain.pack(*args)
            return packed
        beginning = self._beginnings.get(args[:-2]) or self._begin(args)
        return [b"%b$%d\r\n%b\r\n$%d\r\n%b\r\n" % (beginning, len(first), first, len(last), last)]

    def _begin(self, args: tuple[Any, ...]) -> bytes:
        """Return a command but for its last two arguments: five lines from the end of a whole one."""
        whole = b"".join(self._plain.pack(*args[:-2], b"", b""))
        if len(self._beginnings) >= REMEMBERED:
            with contextlib.suppress(RuntimeError):  # another thread has done so just now
                self._beginnings.pop(next(iter(self._beginnings)), None)
        self._beginnings[args[:-2]] = found = whole.removesuffix(b"$0\r\n\r\n$0\r\n\r\n")
        return found


def packer_for(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the setting that makes connections with `settings` use a packer of ours, if that is faster."""
    if HIREDIS_AVAILABLE or settings.get("command_packer"):
        return {}
    encoder: Any = Encoder
    texts = encoder(
        settings.get("encoding", "utf-8"), settings.get("encoding_errors", "strict"), decode_responses=False
    )
    return {"command_packer": Packer(texts.encode)}
