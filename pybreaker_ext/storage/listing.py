"""The listing of a URL's store, or of a client's: what `registry.stored_names` and the command line look through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pybreaker_ext.storage.redis_listing import RedisListing
from pybreaker_ext.storage.redis_urls import redis_client, without_password
from pybreaker_ext.storage.sqlite_listing import SQLiteListing
from pybreaker_ext.storage.urls import from_url, sqlite_path

if TYPE_CHECKING:
    from pybreaker_ext.storage.places import Listing


def listing_of(url: str) -> Listing:
    """Return the listing of the store that `url` tells. No I/O.

    Raises:
        TypeError: `url` is no text.
        ValueError: `url` is no URL of a store, or it is `memory://`.
    """
    from_url(url, "any")  # which refuses what is no URL
    if url == "memory://":
        message = (
            "url must not be memory://, which is one process's own memory and nobody else can look into; "
            "use redis:// or sqlite:///"
        )
        raise ValueError(message)
    shown = without_password(url)
    if url.startswith("sqlite:"):
        return SQLiteListing(sqlite_path(url), shown)
    return RedisListing(redis_client(url), shown)


def listing_on(client: Any) -> Listing:
    """Return the listing of the server of a redis-py client. No I/O."""
    return RedisListing(client, "the client's server")
