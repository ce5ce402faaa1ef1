"""Objects in S3: every version of every one of them."""

import os
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ..config import ConfigError
from ._scrub import clean, holds
from ._work import Work

_AT_ONCE = 1000


class Version(NamedTuple):
    """One version of an object, or a mark that it was deleted."""

    key: str
    """Of the object."""
    number: str
    """Of the version."""
    latest: bool
    """Whether it is what readers get."""
    mark: bool
    """Whether it only says that the object was deleted."""


class Objects:
    """What lies below `s3://BUCKET/PREFIX`. Where the endpoint is and who asks, AWS's own variables say."""

    def __init__(self, uri: str) -> None:
        try:
            import boto3  # noqa: PLC0415 - heavy, and not everybody has it
        except ImportError as e:
            raise ConfigError(f"{uri}: objects in S3 need boto3: pip install boto3") from e
        parts = urlsplit(uri)
        self.uri, self.bucket, self.prefix = uri.rstrip("/"), parts.netloc, parts.path.strip("/")
        self._client: Any = boto3.client("s3", endpoint_url=os.environ.get("MLFLOW_S3_ENDPOINT_URL"))

    def versions(self, below: str = "", *, exact: bool = False) -> Iterator[Version]:
        """All of them, the latest of each object first; or those of the one object `below` names."""
        parts = [part for part in (self.prefix, below.strip("/")) if part]
        start = "/".join(parts) + "/" if parts and not exact else "/".join(parts)
        for page in self._client.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=start):
            found = [Version(v["Key"], v["VersionId"], v["IsLatest"], False) for v in page.get("Versions", [])]
            found += [Version(v["Key"], v["VersionId"], v["IsLatest"], True) for v in page.get("DeleteMarkers", [])]
            wanted = (v for v in found if not exact or v.key == start)
            yield from sorted(wanted, key=lambda v: (v.key, not v.latest))

    def read(self, version: Version) -> bytes:
        """Its content."""
        answer = self._client.get_object(Bucket=self.bucket, Key=version.key, VersionId=version.number)
        return answer["Body"].read()

    def write(self, key: str, data: bytes) -> None:
        """A new latest version."""
        self._client.put_object(Bucket=self.bucket, Key=key, Body=data)

    def purge(self, versions: Iterable[Version]) -> None:
        """Delete versions for good.

        Raises:
            OSError: where the store keeps one, such as under a retention rule.
        """
        left = [{"Key": v.key, "VersionId": v.number} for v in versions]
        for start in range(0, len(left), _AT_ONCE):
            part = left[start : start + _AT_ONCE]
            answer = self._client.delete_objects(Bucket=self.bucket, Delete={"Objects": part, "Quiet": True})
            if errors := answer.get("Errors"):
                raise OSError(f"s3://{self.bucket}/{errors[0]['Key']}: cannot be deleted ({errors[0].get('Message')})")

    def remove(self, work: Work, below: str, why: str) -> None:
        """Everything below a prefix, every version."""
        versions = list(self.versions(below))
        if versions:
            where = f"{self.uri}/{below.strip('/')}"
            work.do("remove", where, f"{why}: {len(versions)} versions", lambda: self.purge(versions))

    def clean(self, work: Work, *, whole: bool = False) -> None:
        """Take the person out of every version of every object.

        Args:
            work: the removal.
            whole: whether nothing is rewritten: what is found by its hash would not be found any more.
        """
        of_key: dict[str, list[Version]] = {}
        for version in self.versions():
            of_key.setdefault(version.key, []).append(version)
        for key, versions in of_key.items():
            relative = key.removeprefix(self.prefix).lstrip("/")
            if work.person.alone_in(relative):
                work.do(
                    "remove", f"s3://{self.bucket}/{key}", "the person's by its key", lambda v=versions: self.purge(v)
                )
                continue
            self._key(work, key, [v for v in versions if not v.mark], versions, whole=whole)

    def _key(self, work: Work, key: str, versions: list[Version], everything: list[Version], *, whole: bool) -> None:
        where = f"s3://{self.bucket}/{key}"
        for version in versions:
            data = self.read(version)
            if not version.latest:
                if (found := holds(work.person, work.readings, key, data)) is not None:
                    work.do("remove", where, f"an old version: {found}", lambda v=version: self.purge([v]))
                continue
            cleaned = clean(work.person, work.readings, key, data)
            if cleaned.action == "keep":
                continue
            if whole or cleaned.action == "remove" or (cleaned.action == "mixed" and work.remove_mixed):
                work.do("remove", where, f"{cleaned.why}; all versions", lambda: self.purge(everything))
                return
            if cleaned.action == "mixed":
                work.do("leave", where, f"{cleaned.why}; it cannot be rewritten: remove_mixed=True removes it")
                continue

            def rewrite(version: Version = version, new: bytes = cleaned.data) -> None:
                self.write(key, new)
                self.purge([version])

            work.do("rewrite", where, cleaned.why, rewrite)
