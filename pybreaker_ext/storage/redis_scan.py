"""Finds keys by SCAN, a few pages at a time. KEYS would keep the server from everything else meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

#: Keys that the server looks at for one page.
PAGE: Final = 1000


class Scan:
    """What is known of the keys that match a pattern, pass after pass.

    A key counts from when it is found until a whole pass has not found it.
    """

    def __init__(self, pattern: bytes) -> None:
        self.known: set[bytes] = set()
        #: Whether a pass has been completed.
        self.complete = False
        self._pattern = pattern
        self._pass: Iterator[list[bytes]] | None = None
        self._found: set[bytes] = set()

    def go_on(self, nodes: Callable[[], Iterable[Any]], pages: int | None) -> None:
        """Read at most so many pages, and not beyond the end of the pass; None: a new pass, and all of it.

        Args:
            nodes: Returns a client for each server. Called when a pass begins.
            pages: 1 or more, or None.
        """
        if self._pass is None or pages is None:
            self._pass, self._found = self._pages(nodes()), set()
        try:
            while pages is None or pages > 0:
                page = next(self._pass, None)
                if page is None:
                    self.known, self.complete, self._pass = self._found, True, None
                    return
                self._found.update(page)
                self.known |= self._found
                pages = None if pages is None else pages - 1
        except BaseException:
            self._pass = None
            raise

    def _pages(self, nodes: Iterable[Any]) -> Iterator[list[bytes]]:
        for node in nodes:
            cursor = None
            while cursor != 0:
                cursor, keys = node.scan(cursor or 0, match=self._pattern, count=PAGE)
                cursor = int(cursor)
                yield [key if isinstance(key, bytes) else key.encode() for key in keys]
