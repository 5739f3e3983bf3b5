"""Zip files, with nothing trusted: `multiparam.formats.zips`."""

from .formats.zips import Member, Zip, is_zip

__all__ = ["Member", "Zip", "is_zip"]
